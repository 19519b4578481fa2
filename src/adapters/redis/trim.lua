-- Removes the ARGV[4] oldest events and the members ARGV[6] and following of the buffer
-- KEYS[1], if it still has the version ARGV[2] and ARGV[3] events, and gives it a new
-- version. ARGV[1] is the window in ms, ARGV[5] the server's time in microseconds at which
-- the buffer was known to be so.
-- Returns the version after, or 0 if it did nothing.
local key, count = KEYS[1], tonumber(ARGV[4])
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
if now_us - tonumber(ARGV[5]) > 30000000 then return 0 end
local before, length, first = redis.call('PEXPIRETIME', key), redis.call('ZCARD', key), 0
local lowest = redis.call('ZRANGEBYSCORE', key, '0', '0', 'LIMIT', '0', '1')[1]
if lowest and string.find(lowest, '{"erased":true,"at":"', 1, true) == 1 then
  length, first = length - 1, 1
end
local removed = count + #ARGV - 5
if before ~= tonumber(ARGV[2]) or length ~= tonumber(ARGV[3]) or removed >= length then return 0 end
for i = 6, #ARGV do redis.call('ZREM', key, ARGV[i]) end
if count > 0 then redis.call('ZREMRANGEBYRANK', key, first, first + count - 1) end
local after = math.max(before + 1, math.floor(now_us / 1000) + tonumber(ARGV[1]))
redis.call('PEXPIREAT', key, string.format('%d', after))
return after
