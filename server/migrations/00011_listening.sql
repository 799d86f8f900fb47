-- Since when endpoints can be heard at all, by any replica: the server's own absence is not held against them.

-- +goose Up

CREATE TABLE server_listening (
    only_row boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    since    timestamptz NOT NULL,
    until    timestamptz NOT NULL,
    before   timestamptz
);
GRANT SELECT, INSERT, UPDATE ON server_listening TO reeve_system;
