-- Shares are 0 to 1; null where the machine does not tell.
CREATE TABLE sample (
    time   timestamptz PRIMARY KEY,
    cpu    real,
    memory real,
    disk   real,
    load   real
);
