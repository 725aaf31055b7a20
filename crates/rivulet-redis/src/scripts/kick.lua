-- Tells all nodes to end connections, again and again until they have answered, and looks who has (time.lua, live.lua).
--
-- KEYS: the leases, the answers. ARGV: the time; the control channel; PUBLISH or SPUBLISH; the message, or nothing when it is
-- too soon to say it again. Answers the incarnations that are alive, and the answers by node.

if ARGV[4] ~= '' then call(ARGV[3], ARGV[2], ARGV[4]) end
return { live(micros(ARGV[1])), call('HGETALL', KEYS[2]) }
