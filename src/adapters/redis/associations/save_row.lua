-- Saves the neighbour row ARGV[1] at KEYS[1] for ARGV[2] ms, or removes the key if it is
-- '', unless the stored row was built later. ARGV[3] is the time in microseconds of its
-- build, ARGV[4] the largest age of a build. A row is a byte 1 and the time of its build,
-- as a signed number of 7 bits a byte. Returns 1 = saved, 0 = superseded, 2 = too old.
local key, built_us = KEYS[1], tonumber(ARGV[3])
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
if now_us - built_us > tonumber(ARGV[4]) then return 2 end
-- A value of another type is replaced.
local head = redis.pcall('GETRANGE', key, 0, 10)
if type(head) == 'string' and string.byte(head, 1) == 1 then
  local number, scale, at = 0, 1, 2
  repeat
    local byte = string.byte(head, at) or 0
    number = number + byte % 128 * scale
    scale, at = scale * 128, at + 1
  until byte < 128
  -- Even numbers are positive.
  if number % 2 == 0 and number / 2 > built_us then return 0 end
end
if ARGV[1] == '' then
  redis.call('UNLINK', key)
else
  redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
end
return 1
