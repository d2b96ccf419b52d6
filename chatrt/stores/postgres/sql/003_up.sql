-- Leases that are claimed many at once, deaths of their holders, and appends that say who has to be told.

ALTER TABLE chatrt.heads ADD COLUMN deaths integer NOT NULL DEFAULT 0;

-- By a trigger, so that workers of the schemas before end the count too.
CREATE FUNCTION chatrt.forget_deaths_3() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.deaths := 0;
    RETURN NEW;
END $$;
CREATE TRIGGER deaths_forgotten BEFORE UPDATE OF in_cursor ON chatrt.heads
    FOR EACH ROW WHEN (NEW.in_cursor > OLD.in_cursor AND OLD.deaths > 0) EXECUTE FUNCTION chatrt.forget_deaths_3();

CREATE FUNCTION chatrt.has_work_3(p_head chatrt.heads) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT p_head.in_last > p_head.in_cursor OR p_head.out_last > p_head.settled_seq;
$$;

-- How many holders have died over what is unsettled, once this one takes the lease.
CREATE FUNCTION chatrt.deaths_3(p_head chatrt.heads, p_owner text) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT p_head.deaths + coalesce((p_head.owner <> p_owner AND chatrt.has_work_3(p_head))::integer, 0);
$$;

-- No row if it is held, or if more have died than `p_most_deaths`; who has it already may have it again.
CREATE FUNCTION chatrt.acquire_lease_3(
    p_tenant text, p_chat text, p_owner text, p_expires float8, p_now float8, p_most_deaths integer
) RETURNS TABLE (new_epoch bigint, new_deaths integer) LANGUAGE sql AS $$
    UPDATE chatrt.heads h
    SET deaths = chatrt.deaths_3(h, p_owner), owner = p_owner, epoch = h.epoch + 1, expires_at = p_expires
    FROM chatrt.sessions s
    WHERE s.tenant = p_tenant AND s.chat_id = p_chat AND h.sid = s.sid
        AND (h.owner IS NULL OR h.owner = p_owner OR h.expires_at < p_now)
        AND (h.owner = p_owner OR chatrt.deaths_3(h, p_owner) <= p_most_deaths)
    RETURNING h.epoch, h.deaths;
$$;

-- Takes leases of sessions with work that nobody holds, one statement for all; heads that others lock are passed.
CREATE FUNCTION chatrt.claim_leases_3(
    p_owner text, p_expires float8, p_now float8, p_limit integer, p_suspects integer, p_suspect_deaths integer,
    p_agents text[], p_avoid_tenants text[], p_avoid_chats text[]
) RETURNS TABLE (claimed_sid bigint, new_epoch bigint, new_deaths integer) LANGUAGE sql AS $$
    WITH others AS MATERIALIZED (
        SELECT h.sid FROM chatrt.work w JOIN chatrt.heads h USING (sid) JOIN chatrt.sessions s USING (sid)
        WHERE chatrt.has_work_3(h) AND (h.owner IS NULL OR h.expires_at < p_now)
            AND (p_agents IS NULL OR s.agent = ANY (p_agents))
            AND (s.tenant, s.chat_id) NOT IN (SELECT * FROM unnest(p_avoid_tenants, p_avoid_chats))
            AND chatrt.deaths_3(h, p_owner) < p_suspect_deaths
        ORDER BY w.sid LIMIT p_limit FOR NO KEY UPDATE OF h SKIP LOCKED
    ), suspects AS MATERIALIZED (
        SELECT h.sid FROM chatrt.work w JOIN chatrt.heads h USING (sid) JOIN chatrt.sessions s USING (sid)
        WHERE chatrt.has_work_3(h) AND (h.owner IS NULL OR h.expires_at < p_now)
            AND (p_agents IS NULL OR s.agent = ANY (p_agents))
            AND (s.tenant, s.chat_id) NOT IN (SELECT * FROM unnest(p_avoid_tenants, p_avoid_chats))
            AND chatrt.deaths_3(h, p_owner) >= p_suspect_deaths
        ORDER BY w.sid LIMIT p_suspects FOR NO KEY UPDATE OF h SKIP LOCKED
    )
    UPDATE chatrt.heads h
    SET deaths = chatrt.deaths_3(h, p_owner), owner = p_owner, epoch = h.epoch + 1, expires_at = p_expires
    WHERE h.sid IN (SELECT sid FROM others UNION ALL SELECT sid FROM suspects)
    RETURNING h.sid, h.epoch, h.deaths;
$$;

-- As append_in_1; also who holds the lease. Only that one is told of a record, and everybody when there is none.
CREATE FUNCTION chatrt.append_in_3(
    p_tenants text[], p_chats text[], p_ats float8[], p_kinds text[], p_parts text[], p_idle boolean[],
    p_bodies bytea[], p_busy text[], p_clock_offset float8, p_origin text
) RETURNS TABLE (outcome text, at_seq bigint, held_by text) LANGUAGE plpgsql AS $$
DECLARE
    v_head chatrt.heads;
    v_notices text[] := '{}';
BEGIN
    PERFORM chatrt.lock_heads_1(p_tenants, p_chats);
    FOR i IN 1 .. cardinality(p_kinds) LOOP
        held_by := NULL;
        SELECT h.* INTO v_head FROM chatrt.heads h JOIN chatrt.sessions s USING (sid)
        WHERE s.tenant = p_tenants[i] AND s.chat_id = p_chats[i];
        IF NOT FOUND THEN
            outcome := 'missing'; at_seq := 0; RETURN NEXT; CONTINUE;
        END IF;
        IF v_head.expires_at >= p_ats[i] + p_clock_offset THEN
            held_by := v_head.owner;
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
        v_notices := v_notices || chatrt.notice_1(
            CASE WHEN held_by IS NULL THEN 'free' ELSE 'in' END, at_seq, p_tenants[i], p_chats[i]);
        outcome := 'appended'; RETURN NEXT;
    END LOOP;
    PERFORM chatrt.tell_1(p_origin, v_notices);
END $$;
