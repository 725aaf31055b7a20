-- Reads what comes after a position in the streams of some topics, together with the clock (clock.lua) and the birth.
--
-- KEYS: the clock, the birth, a stream per topic, and in the same order the keys of their last positions. ARGV: the
-- position to read after; how far it may be before the time; how many entries of each topic at most; how many bytes of
-- each topic, after which no further entry is read. Answers clock, birth, and for each topic its entries, its last
-- position, and 1 if there may be more.

local topics = (#KEYS - 2) / 2
local count, bytes_max = ARGV[3] + 0, ARGV[4] + 0
local answer = { clock(), call('GET', KEYS[2]) }

-- So many entries are looked at at once: of large ones not many more than are wanted.
local step = 16

for i = 3, 2 + topics do
  local entries, bytes, more, start = {}, 0, 0, '(' .. ARGV[1] .. '-0'
  repeat
    local found = call('XRANGE', KEYS[i], start, '+', 'COUNT', math.min(step, count - #entries))
    for n = 1, #found do
      if bytes >= bytes_max then
        more = 1
        break
      end
      entries[#entries + 1] = found[n]
      -- A newer version may have another place for the envelope: it is not read here then.
      bytes = bytes + #(found[n][2][4] or '')
    end
    if #found == 0 or more == 1 then break end
    start = '(' .. found[#found][1]
    if #entries >= count then more = 1 end
  until more == 1
  answer[#answer + 1] = entries
  answer[#answer + 1] = call('GET', KEYS[i + topics])
  answer[#answer + 1] = more
end
return answer
