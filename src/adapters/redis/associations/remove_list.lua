#!lua flags=allow-oom
-- Replaces the interest list KEYS[1] of a user whose events were copied to another one by
-- a marker without data, for ARGV[1] ms. ARGV[2] is the marker's version, ARGV[3] the
-- number of digits of a version, ARGV[4] the time in microseconds at which the caller
-- read its data, ARGV[5] the largest age of such data. The marker has the time of an
-- earlier erasure, or 0. A list or a marker of a higher version stays. Returns what was
-- stored ('' = nothing), or nil if the data is too old or from before an erasure. It must
-- be possible in a full Redis.
local key, digits, read_us = KEYS[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
if tonumber(time[1]) * 1000000 + tonumber(time[2]) - read_us > tonumber(ARGV[5]) then
  return false
end
local value = redis.pcall('GET', key)
if type(value) ~= 'string' then value = '' end
local width = '%0' .. digits .. '.0f'
local version, erased_us = string.format(width, tonumber(ARGV[2])), 0
local stored = string.match(value, '^(%d+)%-%d+')
if stored and #stored == digits then
  if string.byte(value, 2 * digits + 2) == 0 then
    erased_us = tonumber(string.sub(value, 2 * digits + 3)) or 0
    if read_us < erased_us then return false end
  end
  if stored > version then return value end
end
redis.call('SET', key, version .. '-' .. string.rep('0', digits)
  .. '\0' .. string.format(width, erased_us), 'PX', ARGV[1])
return value
