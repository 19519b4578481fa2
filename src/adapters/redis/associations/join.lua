-- Adds the member ARGV[1] with the score ARGV[2] to the audience KEYS[1], or raises its
-- score; keeps the ARGV[3] members with the highest scores. ARGV[4] is the time in
-- microseconds at which the caller read its data, ARGV[5] the largest age of such data,
-- ARGV[6] the expiry in ms. Returns 1, or 0 if the data is too old.
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
if now_us - tonumber(ARGV[4]) > tonumber(ARGV[5]) then return 0 end
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
local surplus = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[3])
if surplus > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, surplus - 1) end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1
