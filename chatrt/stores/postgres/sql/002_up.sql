-- Sessions by their last update, changes of metadata, and sessions put in whole.

-- Beside the heads, which no index may slow down; kept by triggers, so that workers of the first schema keep it too.
CREATE TABLE chatrt.recent (
    sid bigint PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    chat_id text COLLATE "C" NOT NULL,
    agent text NOT NULL,
    updated_at float8 NOT NULL
);

CREATE FUNCTION chatrt.keep_recent_2() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO chatrt.recent (sid, tenant, chat_id, agent, updated_at)
        SELECT s.sid, s.tenant, s.chat_id, s.agent, NEW.updated_at FROM chatrt.sessions s WHERE s.sid = NEW.sid;
    ELSIF TG_OP = 'UPDATE' THEN
        UPDATE chatrt.recent SET updated_at = NEW.updated_at WHERE sid = NEW.sid;
    ELSE
        DELETE FROM chatrt.recent WHERE sid = OLD.sid;
    END IF;
    RETURN NULL;
END $$;

-- Nobody writes between the copy and the triggers.
LOCK TABLE chatrt.heads IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO chatrt.recent (sid, tenant, chat_id, agent, updated_at)
SELECT s.sid, s.tenant, s.chat_id, s.agent, h.updated_at FROM chatrt.sessions s JOIN chatrt.heads h USING (sid);
CREATE TRIGGER recent_kept AFTER INSERT OR DELETE ON chatrt.heads
    FOR EACH ROW EXECUTE FUNCTION chatrt.keep_recent_2();
CREATE TRIGGER recent_moved AFTER UPDATE OF updated_at ON chatrt.heads
    FOR EACH ROW WHEN (OLD.updated_at IS DISTINCT FROM NEW.updated_at) EXECUTE FUNCTION chatrt.keep_recent_2();
CREATE INDEX recent_of_tenant ON chatrt.recent (tenant, updated_at, chat_id);
CREATE INDEX recent_of_agent ON chatrt.recent (tenant, agent, updated_at, chat_id);

-- Whether the metadata were still the ones that the new ones were made from; null if there is no such session.
CREATE FUNCTION chatrt.update_session_2(
    p_tenant text, p_chat text, p_before bytea, p_after bytea, p_at float8, p_origin text
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_sid bigint;
    v_metadata bytea;
BEGIN
    SELECT s.sid, s.metadata INTO v_sid, v_metadata FROM chatrt.heads h JOIN chatrt.sessions s USING (sid)
    WHERE s.tenant = p_tenant AND s.chat_id = p_chat FOR NO KEY UPDATE OF h, s;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF v_metadata <> p_before THEN
        RETURN false;
    END IF;
    UPDATE chatrt.sessions SET metadata = p_after WHERE sid = v_sid;
    UPDATE chatrt.heads SET updated_at = p_at WHERE sid = v_sid;
    PERFORM chatrt.tell_1(p_origin, ARRAY[chatrt.notice_1('session', 0, p_tenant, p_chat)]);
    RETURN true;
END $$;

-- A whole session at once; false, and nothing is written, if there is one of its name.
CREATE FUNCTION chatrt.import_session_2(
    p_tenant text, p_chat text, p_agent text, p_closed boolean, p_reason text, p_created float8, p_updated float8,
    p_metadata bytea, p_client_data bytea, p_parent text, p_root text, p_tool_call text,
    p_nodes text[], p_parents text[], p_messages text[], p_roles text[], p_bodies bytea[],
    p_seqs bigint[], p_ats float8[], p_kinds text[], p_parts text[], p_inputs bytea[],
    p_firsts bigint[], p_counts integer[], p_out_ats float8[], p_segments bytea[],
    p_in_cursor bigint, p_out_first bigint, p_settled bigint, p_leaf text, p_state bytea
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_sid bigint;
BEGIN
    INSERT INTO chatrt.sessions (tenant, chat_id, agent, closed_reason, created_at, metadata, client_data, parent_id,
        root_id, tool_call_id)
    VALUES (p_tenant, p_chat, p_agent, p_reason, p_created, p_metadata, p_client_data, p_parent, p_root, p_tool_call)
    ON CONFLICT (tenant, chat_id) DO NOTHING RETURNING sid INTO v_sid;
    IF v_sid IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO chatrt.heads
        (sid, closed, in_last, in_cursor, out_first, out_last, settled_seq, updated_at, epoch)
    SELECT v_sid, p_closed, p_in_cursor, p_in_cursor, p_out_first, p_settled, p_settled, p_updated, epoch
    FROM chatrt.epoch_floor;
    INSERT INTO chatrt.states (sid, leaf_id, body) VALUES (v_sid, p_leaf, p_state);
    INSERT INTO chatrt.nodes (sid, node_id, parent_id, message_id, role, body)
    SELECT v_sid, n.node_id, n.parent_id, n.message_id, n.role, n.body
    FROM unnest(p_nodes, p_parents, p_messages, p_roles, p_bodies)
        WITH ORDINALITY AS n (node_id, parent_id, message_id, role, body, place)
    ORDER BY n.place;
    INSERT INTO chatrt.inbox (sid, seq, at, kind, part_id, body)
    SELECT v_sid, i.* FROM unnest(p_seqs, p_ats, p_kinds, p_parts, p_inputs) AS i;
    INSERT INTO chatrt.out_segments (sid, first_seq, count, at, body)
    SELECT v_sid, o.* FROM unnest(p_firsts, p_counts, p_out_ats, p_segments) AS o;
    RETURN true;
END $$;
