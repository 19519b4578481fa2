#!lua flags=allow-oom
-- Replaces the buffer KEYS[1], whose events were copied to another user, by a marker for
-- ARGV[4] ms, if it still has the version ARGV[5] (-2 = no buffer, -1 = no expiry) and
-- ARGV[6] events. ARGV[1] is the server's time in microseconds at which that was
-- observed, ARGV[2] a version that the marker's must exceed, ARGV[3] the window in ms.
-- The marker has the time of an earlier erasure, or 0: then it refuses no append.
-- Returns the marker's version, above any that the buffer can have had, and the server's
-- time; version 0 if nothing was removed: the buffer has other events, or that
-- observation was too long ago or before an erasure.
-- It must be possible in a full Redis.
local key, read_us = KEYS[1], tonumber(ARGV[1])
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local version = math.max(tonumber(ARGV[2]), math.floor(now_us / 1000) + tonumber(ARGV[3]))
local before, length = redis.call('PEXPIRETIME', key), redis.call('ZCARD', key)
local erased_us = 0
local first = redis.call('ZRANGEBYSCORE', key, '0', '0', 'LIMIT', '0', '1')[1]
if first then
  local at, of_marker = string.match(first, '^{"erased":true,"at":"(%d+)","version":"(%d+)"}$')
  if at then
    erased_us, version, length = tonumber(at), math.max(version, tonumber(of_marker)), length - 1
  end
end
if length == 0 then before = -2 end
if now_us - read_us > 30000000 or read_us < erased_us
  or before ~= tonumber(ARGV[5]) or length ~= tonumber(ARGV[6]) then
  return { 0, now_us }
end
version = math.max(version, before) + 1
redis.call('UNLINK', key)
redis.call('ZADD', key, '0',
  string.format('{"erased":true,"at":"%017.0f","version":"%017.0f"}', erased_us, version))
redis.call('PEXPIRE', key, ARGV[4])
return { version, now_us }
