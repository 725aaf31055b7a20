-- Rates (GCRA, the generic cell rate algorithm), for the scripts that have some: a key per rate holds the time, in
-- microseconds, until which it is used up, and goes when that has come.
--
-- pass(key, arg, count, now) lets one thing through all of `count` rates, or takes nothing from any. Their keys begin at
-- KEYS[key]; from ARGV[arg] on stands for each how long one takes and how far before the time a burst may get, in
-- microseconds. Answers nothing and until when each is used up now, or { 'fast', the first that is used up, for how many
-- microseconds }.

local call, format = redis.call, string.format

local function use(key, arrival)
  call('SET', key, format('%.0f', arrival), 'PXAT', format('%.0f', math.ceil(arrival / 1000)))
end

local function pass(key, arg, count, now)
  local arrivals = {}
  for i = 1, count do
    local interval, burst = ARGV[arg + 2 * i - 2] + 0, ARGV[arg + 2 * i - 1] + 0
    local arrival = math.max(now, (call('GET', KEYS[key + i - 1]) or 0) + 0) + interval
    local wait = arrival - now - burst
    if wait > 0 then return { 'fast', i, format('%.0f', wait) } end
    arrivals[i] = arrival
  end
  for i = 1, count do use(KEYS[key + i - 1], arrivals[i]) end
  return nil, arrivals
end

