-- Takes everything away, with all sessions.

DROP SCHEMA chatrt CASCADE;
