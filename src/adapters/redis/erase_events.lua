#!lua flags=allow-oom
-- Replaces the buffer KEYS[1] by the marker of an erasure, for ARGV[4] ms. ARGV[1]
-- is the server's time in microseconds of the erasure's first read, ARGV[2] a version
-- that the erasure's must exceed, ARGV[3] the window in ms. Returns 1 if it is
-- refused, because that read was too long ago or before another erasure; whether
-- there were events; the erasure's version, above any that the buffer can have had;
-- its time.
-- Erasing must be possible in a full Redis.
local key, read_us = KEYS[1], tonumber(ARGV[1])
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_ms = math.floor(now_us / 1000)
local version = math.max(tonumber(ARGV[2]), now_ms + tonumber(ARGV[3]))
local erased_us, existed = 0, redis.call('EXISTS', key)
-- A key of another type is removed as well.
local first = redis.pcall('ZRANGEBYSCORE', key, '0', '0', 'LIMIT', '0', '1')
if not first.err then
  local at, of_marker = nil, nil
  if first[1] then
    at, of_marker = string.match(first[1], '^{"erased":true,"at":"(%d+)","version":"(%d+)"}$')
  end
  if at then
    erased_us, version = tonumber(at), math.max(version, tonumber(of_marker))
    if redis.call('ZCARD', key) == 1 then existed = 0 end
  end
end
if now_us - read_us > 30000000 or read_us < erased_us then
  return { 1, existed, 0, now_us }
end
if existed == 1 then version = math.max(version, redis.call('PEXPIRETIME', key)) end
version = version + 1
redis.call('UNLINK', key)
redis.call('ZADD', key, '0',
  string.format('{"erased":true,"at":"%017.0f","version":"%017.0f"}', now_us, version))
redis.call('PEXPIRE', key, ARGV[4])
return { 0, existed, version, now_us }
