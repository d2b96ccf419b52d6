-- The first schema: tables, and the functions that write them.
--
-- Every function that writes locks the heads of its sessions first, in one order, so that no two wait for each other, and
-- compares epochs under that lock. A newer schema adds functions of other names: old workers go on with theirs.

CREATE SCHEMA IF NOT EXISTS chatrt;

CREATE TABLE chatrt.sessions (
    sid bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    tenant text COLLATE "C" NOT NULL,
    chat_id text COLLATE "C" NOT NULL,
    agent text NOT NULL,
    closed_reason text,
    created_at float8 NOT NULL,
    metadata bytea NOT NULL,
    client_data bytea NOT NULL,
    parent_id text COLLATE "C",
    root_id text,
    tool_call_id text,
    UNIQUE (tenant, chat_id)
);

CREATE INDEX sessions_of_parent ON chatrt.sessions (tenant, parent_id, chat_id) WHERE parent_id IS NOT NULL;

-- Small and often written. No index holds what changes here, so that a new version of a row stays in its page.
CREATE TABLE chatrt.heads (
    sid bigint PRIMARY KEY,
    closed boolean NOT NULL DEFAULT false,
    in_last bigint NOT NULL DEFAULT 0,
    in_cursor bigint NOT NULL DEFAULT 0,
    out_first bigint NOT NULL DEFAULT 1,
    out_last bigint NOT NULL DEFAULT 0,
    settled_seq bigint NOT NULL DEFAULT 0,
    updated_at float8 NOT NULL,
    owner text,
    epoch bigint NOT NULL,
    expires_at float8 NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- The sessions with unsettled records or an unfinished turn; idle ones cost nothing to those who look for work.
CREATE TABLE chatrt.work (sid bigint PRIMARY KEY);

-- The highest epoch of all deleted sessions: a chat id that is used again starts above every lease it ever had.
CREATE TABLE chatrt.epoch_floor (epoch bigint NOT NULL);
INSERT INTO chatrt.epoch_floor VALUES (0);

CREATE TABLE chatrt.inbox (
    sid bigint NOT NULL,
    seq bigint NOT NULL,
    at float8 NOT NULL,
    kind text NOT NULL,
    part_id text,
    body bytea NOT NULL,
    PRIMARY KEY (sid, seq)
);
CREATE UNIQUE INDEX inbox_part ON chatrt.inbox (sid, part_id) WHERE part_id IS NOT NULL;

-- One row for each append: msgpack of [[kind, body], ...], numbered from first_seq.
CREATE TABLE chatrt.out_segments (
    sid bigint NOT NULL,
    first_seq bigint NOT NULL,
    count integer NOT NULL,
    at float8 NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (sid, first_seq)
);

CREATE TABLE chatrt.nodes (
    sid bigint NOT NULL,
    node_id text NOT NULL,
    made bigint GENERATED ALWAYS AS IDENTITY,
    parent_id text,
    message_id text NOT NULL,
    role text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (sid, node_id)
);

CREATE TABLE chatrt.states (
    sid bigint PRIMARY KEY,
    leaf_id text,
    body bytea NOT NULL
);

CREATE TABLE chatrt.attachments (
    aid bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    sid bigint NOT NULL,
    id text NOT NULL,
    media_type text NOT NULL,
    filename text,
    size bigint NOT NULL,
    sha256 text,
    status text NOT NULL,
    created_at float8 NOT NULL,
    expires_at float8 NOT NULL,
    in_bucket boolean NOT NULL,
    UNIQUE (sid, id)
);

-- The bytes of a file in pieces of one size, the last of which may be smaller; compressed files gain nothing by more.
CREATE TABLE chatrt.attachment_pieces (
    aid bigint NOT NULL REFERENCES chatrt.attachments ON DELETE CASCADE,
    idx integer NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (aid, idx)
);
ALTER TABLE chatrt.attachment_pieces ALTER COLUMN body SET STORAGE EXTERNAL;

-- Takes the locks of a group; what is read afterwards is what was committed before.
CREATE FUNCTION chatrt.lock_heads_1(p_tenants text[], p_chats text[]) RETURNS void LANGUAGE sql AS $$
    SELECT h.sid FROM chatrt.heads h JOIN chatrt.sessions s USING (sid)
    WHERE (s.tenant, s.chat_id) IN (SELECT * FROM unnest(p_tenants, p_chats))
    ORDER BY h.sid FOR NO KEY UPDATE OF h;
$$;

-- One notice: a JSON array in one line, [what, seq, tenant, chat id].
CREATE FUNCTION chatrt.notice_1(p_what text, p_seq bigint, p_tenant text, p_chat text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT json_build_array(p_what, p_seq, p_tenant, p_chat)::text;
$$;

-- Tells the other processes, many notices to a payload, which holds less than 8000 bytes.
CREATE FUNCTION chatrt.tell_1(p_origin text, p_notices text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_line text;
    v_payload text := p_origin;
BEGIN
    FOREACH v_line IN ARRAY p_notices LOOP
        IF octet_length(v_line) > 7000 THEN
            v_line := chatrt.notice_1('all', 0, '', '');
        END IF;
        IF octet_length(v_payload) + octet_length(v_line) > 7900 THEN
            PERFORM pg_notify('chatrt', v_payload);
            v_payload := p_origin;
        END IF;
        v_payload := v_payload || E'\n' || v_line;
    END LOOP;
    IF v_payload <> p_origin THEN
        PERFORM pg_notify('chatrt', v_payload);
    END IF;
END $$;

CREATE FUNCTION chatrt.create_session_1(
    p_tenant text, p_chat text, p_agent text, p_at float8, p_metadata bytea, p_client_data bytea,
    p_parent text, p_root text, p_tool_call text
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_sid bigint;
BEGIN
    INSERT INTO chatrt.sessions
        (tenant, chat_id, agent, created_at, metadata, client_data, parent_id, root_id, tool_call_id)
    VALUES (p_tenant, p_chat, p_agent, p_at, p_metadata, p_client_data, p_parent, p_root, p_tool_call)
    ON CONFLICT (tenant, chat_id) DO NOTHING RETURNING sid INTO v_sid;
    IF v_sid IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO chatrt.heads (sid, updated_at, epoch) SELECT v_sid, p_at, epoch FROM chatrt.epoch_floor;
    INSERT INTO chatrt.states (sid, body) VALUES (v_sid, '{}');
    RETURN true;
END $$;

CREATE FUNCTION chatrt.close_session_1(
    p_tenant text, p_chat text, p_reason text, p_at float8, p_origin text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_sid bigint;
BEGIN
    UPDATE chatrt.heads h SET closed = true, updated_at = p_at FROM chatrt.sessions s
    WHERE s.tenant = p_tenant AND s.chat_id = p_chat AND h.sid = s.sid AND NOT h.closed RETURNING h.sid INTO v_sid;
    IF v_sid IS NOT NULL THEN
        UPDATE chatrt.sessions SET closed_reason = p_reason WHERE sid = v_sid;
        PERFORM chatrt.tell_1(p_origin, ARRAY[chatrt.notice_1('session', 0, p_tenant, p_chat)]);
    END IF;
END $$;

CREATE FUNCTION chatrt.delete_session_1(p_tenant text, p_chat text, p_origin text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_sid bigint;
    v_epoch bigint;
BEGIN
    SELECT h.sid INTO v_sid FROM chatrt.heads h JOIN chatrt.sessions s USING (sid)
    WHERE s.tenant = p_tenant AND s.chat_id = p_chat FOR UPDATE OF h;
    DELETE FROM chatrt.heads WHERE sid = v_sid RETURNING epoch INTO v_epoch;
    IF v_epoch IS NULL THEN
        RETURN false;
    END IF;
    UPDATE chatrt.epoch_floor SET epoch = v_epoch WHERE epoch < v_epoch;
    DELETE FROM chatrt.work WHERE sid = v_sid;
    DELETE FROM chatrt.inbox WHERE sid = v_sid;
    DELETE FROM chatrt.out_segments WHERE sid = v_sid;
    DELETE FROM chatrt.nodes WHERE sid = v_sid;
    DELETE FROM chatrt.states WHERE sid = v_sid;
    DELETE FROM chatrt.attachments WHERE sid = v_sid;
    DELETE FROM chatrt.sessions WHERE sid = v_sid;
    PERFORM chatrt.tell_1(p_origin, ARRAY[chatrt.notice_1('session', 0, p_tenant, p_chat)]);
    RETURN true;
END $$;

-- One row for each record, in their order: what became of it, and its seq if it is there.
CREATE FUNCTION chatrt.append_in_1(
    p_tenants text[], p_chats text[], p_ats float8[], p_kinds text[], p_parts text[], p_idle boolean[],
    p_bodies bytea[], p_busy text[], p_origin text
) RETURNS TABLE (outcome text, at_seq bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_head chatrt.heads;
    v_notices text[] := '{}';
BEGIN
    PERFORM chatrt.lock_heads_1(p_tenants, p_chats);
    FOR i IN 1 .. cardinality(p_kinds) LOOP
        SELECT h.* INTO v_head FROM chatrt.heads h JOIN chatrt.sessions s USING (sid)
        WHERE s.tenant = p_tenants[i] AND s.chat_id = p_chats[i];
        IF NOT FOUND THEN
            outcome := 'missing'; at_seq := 0; RETURN NEXT; CONTINUE;
        END IF;
        IF p_parts[i] IS NOT NULL THEN
            SELECT n.seq INTO at_seq FROM chatrt.inbox n WHERE n.sid = v_head.sid AND n.part_id = p_parts[i];
            IF FOUND THEN
                outcome := 'repeated'; RETURN NEXT; CONTINUE;
            END IF;
        END IF;
        IF v_head.closed THEN
            outcome := 'closed'; at_seq := 0; RETURN NEXT; CONTINUE;
        END IF;
        IF p_idle[i] AND EXISTS (
            SELECT 1 FROM chatrt.inbox n
            WHERE n.sid = v_head.sid AND n.seq > v_head.in_cursor AND n.kind = ANY (p_busy)
        ) THEN
            outcome := 'busy'; at_seq := 0; RETURN NEXT; CONTINUE;
        END IF;
        at_seq := v_head.in_last + 1;
        INSERT INTO chatrt.inbox (sid, seq, at, kind, part_id, body)
        VALUES (v_head.sid, at_seq, p_ats[i], p_kinds[i], p_parts[i], p_bodies[i]);
        UPDATE chatrt.heads SET in_last = at_seq, updated_at = p_ats[i] WHERE sid = v_head.sid;
        IF v_head.in_last = v_head.in_cursor AND v_head.out_last = v_head.settled_seq THEN
            INSERT INTO chatrt.work VALUES (v_head.sid) ON CONFLICT DO NOTHING;
        END IF;
        v_notices := v_notices || chatrt.notice_1('in', at_seq, p_tenants[i], p_chats[i]);
        outcome := 'appended'; RETURN NEXT;
    END LOOP;
    PERFORM chatrt.tell_1(p_origin, v_notices);
END $$;

CREATE FUNCTION chatrt.acquire_lease_1(p_tenant text, p_chat text, p_owner text, p_expires float8, p_now float8)
RETURNS bigint LANGUAGE sql AS $$
    UPDATE chatrt.heads h SET owner = p_owner, epoch = h.epoch + 1, expires_at = p_expires FROM chatrt.sessions s
    WHERE s.tenant = p_tenant AND s.chat_id = p_chat AND h.sid = s.sid
        AND (h.owner IS NULL OR h.owner = p_owner OR h.expires_at < p_now)
    RETURNING h.epoch;
$$;

-- The places in the arrays of the leases that still hold.
CREATE FUNCTION chatrt.renew_leases_1(
    p_tenants text[], p_chats text[], p_epochs bigint[], p_owners text[], p_expires float8
) RETURNS SETOF bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM chatrt.lock_heads_1(p_tenants, p_chats);
    RETURN QUERY
        UPDATE chatrt.heads h SET expires_at = p_expires
        FROM unnest(p_tenants, p_chats, p_epochs, p_owners) WITH ORDINALITY AS l (tenant, chat_id, epoch, owner, place)
            JOIN chatrt.sessions s ON s.tenant = l.tenant AND s.chat_id = l.chat_id
        WHERE h.sid = s.sid AND h.epoch = l.epoch AND h.owner = l.owner
        RETURNING l.place;
END $$;

-- Null if the lease is over, else whether it was given back.
CREATE FUNCTION chatrt.release_lease_1(
    p_tenant text, p_chat text, p_epoch bigint, p_owner text, p_in_cursor bigint, p_origin text
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_head chatrt.heads;
BEGIN
    SELECT h.* INTO v_head FROM chatrt.heads h JOIN chatrt.sessions s USING (sid)
    WHERE s.tenant = p_tenant AND s.chat_id = p_chat AND h.epoch = p_epoch AND h.owner = p_owner
    FOR NO KEY UPDATE OF h;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF v_head.in_last > p_in_cursor THEN
        RETURN false;
    END IF;
    UPDATE chatrt.heads SET owner = NULL WHERE sid = v_head.sid;
    IF v_head.in_last > v_head.in_cursor OR v_head.out_last > v_head.settled_seq THEN
        PERFORM chatrt.tell_1(p_origin, ARRAY[chatrt.notice_1('free', 0, p_tenant, p_chat)]);
    END IF;
    RETURN true;
END $$;

-- The first seq of each group, in their order; null where the lease is over.
CREATE FUNCTION chatrt.append_out_1(
    p_tenants text[], p_chats text[], p_epochs bigint[], p_owners text[], p_counts integer[], p_ats float8[],
    p_bodies bytea[], p_origin text
) RETURNS SETOF bigint LANGUAGE plpgsql AS $$
DECLARE
    v_head chatrt.heads;
    v_notices text[] := '{}';
BEGIN
    PERFORM chatrt.lock_heads_1(p_tenants, p_chats);
    FOR i IN 1 .. cardinality(p_counts) LOOP
        SELECT h.* INTO v_head FROM chatrt.heads h JOIN chatrt.sessions s USING (sid)
        WHERE s.tenant = p_tenants[i] AND s.chat_id = p_chats[i] AND h.epoch = p_epochs[i] AND h.owner = p_owners[i];
        IF NOT FOUND THEN
            RETURN NEXT NULL; CONTINUE;
        END IF;
        IF p_counts[i] > 0 THEN
            INSERT INTO chatrt.out_segments (sid, first_seq, count, at, body)
            VALUES (v_head.sid, v_head.out_last + 1, p_counts[i], p_ats[i], p_bodies[i]);
            UPDATE chatrt.heads SET out_last = v_head.out_last + p_counts[i] WHERE sid = v_head.sid;
            IF v_head.in_last = v_head.in_cursor AND v_head.out_last = v_head.settled_seq THEN
                INSERT INTO chatrt.work VALUES (v_head.sid) ON CONFLICT DO NOTHING;
            END IF;
            v_notices := v_notices
                || chatrt.notice_1('out', v_head.out_last + p_counts[i], p_tenants[i], p_chats[i]);
        END IF;
        RETURN NEXT v_head.out_last + 1;
    END LOOP;
    PERFORM chatrt.tell_1(p_origin, v_notices);
END $$;

-- The first seq of the records; null if the lease is over. What cannot be written raises CH001 and undoes everything.
CREATE FUNCTION chatrt.commit_1(
    p_tenant text, p_chat text, p_epoch bigint, p_owner text, p_at float8, p_count integer, p_segment bytea,
    p_nodes text[], p_parents text[], p_messages text[], p_roles text[], p_bodies bytea[],
    p_leaf text, p_in_cursor bigint, p_state bytea, p_trim_to bigint, p_origin text
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_head chatrt.heads;
    v_last bigint;
    v_settled bigint;
BEGIN
    SELECT h.* INTO v_head FROM chatrt.heads h JOIN chatrt.sessions s USING (sid)
    WHERE s.tenant = p_tenant AND s.chat_id = p_chat AND h.epoch = p_epoch AND h.owner = p_owner
    FOR NO KEY UPDATE OF h;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF p_in_cursor < v_head.in_cursor OR p_in_cursor > v_head.in_last THEN
        RAISE EXCEPTION 'a commit moves the .in cursor to %, outside of %..%',
            p_in_cursor, v_head.in_cursor, v_head.in_last USING ERRCODE = 'CH001';
    END IF;
    v_last := v_head.out_last + p_count;
    v_settled := CASE WHEN p_count > 0 THEN v_last ELSE v_head.settled_seq END;
    IF p_count > 0 THEN
        INSERT INTO chatrt.out_segments (sid, first_seq, count, at, body)
        VALUES (v_head.sid, v_head.out_last + 1, p_count, p_at, p_segment);
    END IF;
    FOR i IN 1 .. cardinality(p_nodes) LOOP
        INSERT INTO chatrt.nodes AS n (sid, node_id, parent_id, message_id, role, body)
        SELECT v_head.sid, p_nodes[i], p_parents[i], p_messages[i], p_roles[i], p_bodies[i]
        WHERE p_parents[i] IS NULL
            OR EXISTS (SELECT 1 FROM chatrt.nodes o WHERE o.sid = v_head.sid AND o.node_id = p_parents[i])
        ON CONFLICT (sid, node_id) DO UPDATE
            SET message_id = excluded.message_id, role = excluded.role, body = excluded.body
            WHERE n.parent_id IS NOT DISTINCT FROM excluded.parent_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'a node names a parent that is not stored before it, or another one than at first'
                USING ERRCODE = 'CH001';
        END IF;
    END LOOP;
    UPDATE chatrt.states SET leaf_id = p_leaf, body = p_state
    WHERE sid = v_head.sid
        AND (p_leaf IS NULL OR EXISTS (SELECT 1 FROM chatrt.nodes WHERE sid = v_head.sid AND node_id = p_leaf));
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the leaf % is not a stored node', p_leaf USING ERRCODE = 'CH001';
    END IF;
    IF p_trim_to > 0 THEN
        DELETE FROM chatrt.out_segments
        WHERE sid = v_head.sid AND first_seq <= p_trim_to AND first_seq + count - 1 <= p_trim_to;
    END IF;
    UPDATE chatrt.heads SET in_cursor = p_in_cursor, out_last = v_last, settled_seq = v_settled, updated_at = p_at,
        out_first = coalesce((SELECT min(first_seq) FROM chatrt.out_segments WHERE sid = v_head.sid), v_last + 1)
    WHERE sid = v_head.sid;
    IF p_in_cursor = v_head.in_last AND v_settled = v_last THEN
        DELETE FROM chatrt.work WHERE sid = v_head.sid;
    END IF;
    IF p_count > 0 THEN
        PERFORM chatrt.tell_1(p_origin, ARRAY[chatrt.notice_1('out', v_last, p_tenant, p_chat)]);
    END IF;
    RETURN v_head.out_last + 1;
END $$;

-- Segments from the one that holds the record after p_after on, until they hold p_limit records; in one snapshot.
CREATE FUNCTION chatrt.read_segments_1(p_sid bigint, p_after bigint, p_limit bigint)
RETURNS TABLE (first_seq bigint, count integer, at float8, body bytea) LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_left bigint := p_limit;
BEGIN
    FOR first_seq, count, at, body IN
        SELECT o.first_seq, o.count, o.at, o.body FROM chatrt.out_segments o
        WHERE o.sid = p_sid AND o.first_seq >= coalesce(
            (SELECT max(b.first_seq) FROM chatrt.out_segments b WHERE b.sid = p_sid AND b.first_seq <= p_after + 1), 0)
        ORDER BY o.first_seq
    LOOP
        EXIT WHEN v_left <= 0;
        v_left := v_left - (first_seq + count - 1 - greatest(p_after, first_seq - 1));
        RETURN NEXT;
    END LOOP;
END $$;
