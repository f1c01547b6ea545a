-- An application inserts rows in its own transactions. The claim queue adds its own columns.
CREATE TABLE <table> (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  subject text NOT NULL,
  payload jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON COLUMN <table>.subject IS 'subject of the event, as in events.py';
COMMENT ON COLUMN <table>.payload IS 'the event itself';
