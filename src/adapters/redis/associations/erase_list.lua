#!lua flags=allow-oom
-- Replaces the interest list KEYS[1] by a marker without data, for ARGV[1] ms. ARGV[2] is
-- the marker's lowest version, ARGV[3] the number of digits of a version, ARGV[4] the
-- time in microseconds at which the caller read its data, ARGV[5] the largest age of such
-- data. The marker's version is above that of the list. Returns what was stored ('' =
-- nothing), or nil if the data is too old. Erasing must be possible in a full Redis.
local key, digits = KEYS[1], tonumber(ARGV[3])
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
if now_us - tonumber(ARGV[4]) > tonumber(ARGV[5]) then return false end
local value = redis.pcall('GET', key)
if type(value) ~= 'string' then value = '' end
local version = tonumber(ARGV[2])
local stored = string.match(value, '^(%d+)%-%d+')
if stored and #stored == digits then version = math.max(version, tonumber(stored) + 1) end
local width = '%0' .. digits .. '.0f'
local marker = string.format(width, version) .. '-' .. string.rep('0', digits)
  .. '\0' .. string.format(width, now_us)
redis.call('SET', key, marker, 'PX', ARGV[1])
return value
