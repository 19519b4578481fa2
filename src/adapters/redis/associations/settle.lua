#!lua flags=allow-oom
-- Corrects the audience KEYS[1]. ARGV[1] is the time in microseconds at which the caller
-- read its data, ARGV[2] the largest age of such data; members below the window of
-- ARGV[3] microseconds are removed (0 = none). Then for each member: the member, the
-- score that was read, and its new score ('' = remove). A member whose score is above
-- the one that was read stays as it is. Returns 1, or 0 if the data is too old.
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
if now_us - tonumber(ARGV[1]) > tonumber(ARGV[2]) then return 0 end
for i = 4, #ARGV, 3 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  -- Half a microsecond more: doubles round the microseconds.
  if score and tonumber(score) <= tonumber(ARGV[i + 1]) + 0.0000005 then
    if ARGV[i + 2] == '' then
      redis.call('ZREM', KEYS[1], ARGV[i])
    else
      redis.call('ZADD', KEYS[1], ARGV[i + 2], ARGV[i])
    end
  end
end
local window_us = tonumber(ARGV[3])
if window_us > 0 then
  local oldest_us = now_us - window_us
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf',
    string.format('(%d.%06d', math.floor(oldest_us / 1000000), oldest_us % 1000000))
end
return 1
