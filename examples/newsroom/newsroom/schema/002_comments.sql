-- A comment waits until an editor shows or hides it.
CREATE TABLE comment (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    article bigint NOT NULL REFERENCES article ON DELETE CASCADE,
    name    text NOT NULL,
    body    text NOT NULL,
    status  text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'shown', 'hidden')),
    created timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX comment_of_article ON comment (article, created) WHERE status = 'shown';
CREATE INDEX comment_by_status ON comment (status, created DESC);
