-- Time, for the scripts that count.
--
-- micros(given): the time in microseconds, which is Redis' own where 0 is given. Only tests give another: they let time
-- pass as they like. All expiries are points in time, so that tests may play in another century.

local call = redis.call

local function micros(given)
  if given ~= '0' then return given + 0 end
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

