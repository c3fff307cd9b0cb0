-- A section is news (dated, on the front page) or reference (a folder of pages, in their order).
CREATE TABLE section (
    slug  text PRIMARY KEY,
    name  text NOT NULL,
    form  text NOT NULL DEFAULT 'news' CHECK (form IN ('news', 'reference')),
    place integer NOT NULL DEFAULT 100
);

CREATE TABLE author (
    slug text PRIMARY KEY,
    name text NOT NULL
);

-- The picture's bytes are in the bucket, under its key.
CREATE TABLE picture (
    key     text PRIMARY KEY,
    name    text NOT NULL,
    type    text NOT NULL,
    bytes   integer NOT NULL,
    source  text UNIQUE,
    created timestamptz NOT NULL DEFAULT now()
);

-- `published` is null for a draft. `source` is the file that the article was imported from.
CREATE TABLE article (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug      text NOT NULL UNIQUE,
    title     text NOT NULL,
    lede      text NOT NULL DEFAULT '',
    body      text NOT NULL DEFAULT '',
    section   text NOT NULL REFERENCES section,
    author    text NOT NULL REFERENCES author,
    picture   text REFERENCES picture,
    caption   text NOT NULL DEFAULT '',
    source    text UNIQUE,
    published timestamptz,
    created   timestamptz NOT NULL DEFAULT now(),
    updated   timestamptz NOT NULL DEFAULT now(),
    revision  bigint NOT NULL DEFAULT 1
);
CREATE INDEX article_by_date ON article (published DESC) WHERE published IS NOT NULL;
CREATE INDEX article_by_section ON article (section, published DESC);
CREATE INDEX article_by_author ON article (author, published DESC);
