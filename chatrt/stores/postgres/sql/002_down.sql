-- Back to the first schema; nothing but the order of sessions is taken away.

DROP FUNCTION chatrt.import_session_2;
DROP FUNCTION chatrt.update_session_2;
DROP TRIGGER recent_moved ON chatrt.heads;
DROP TRIGGER recent_kept ON chatrt.heads;
DROP FUNCTION chatrt.keep_recent_2;
DROP TABLE chatrt.recent;
