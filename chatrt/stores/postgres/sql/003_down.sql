-- Back to the second schema; the count of deaths is lost.

DROP FUNCTION chatrt.append_in_3;
DROP FUNCTION chatrt.claim_leases_3;
DROP FUNCTION chatrt.acquire_lease_3;
DROP FUNCTION chatrt.deaths_3;
DROP FUNCTION chatrt.has_work_3;
DROP TRIGGER deaths_forgotten ON chatrt.heads;
DROP FUNCTION chatrt.forget_deaths_3;
ALTER TABLE chatrt.heads DROP COLUMN deaths;
