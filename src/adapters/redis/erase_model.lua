#!lua flags=allow-oom
-- Replaces the model KEYS[1] by the marker of an erasure, for ARGV[1] ms. ARGV[2] is
-- the start of recsys's values, ARGV[3] the erasure's version and ARGV[4] its time, as
-- text of the width that ranks have, ARGV[5] what follows them in a marker, ARGV[6]
-- the server's time in microseconds of the erasure's first read. Returns 0 if it is
-- refused, because that read was more than 30 s ago or before another erasure; 1 if
-- there was no model, 2 if there was one.
-- Erasing must be possible in a full Redis.
local key, start, version, at, erased = KEYS[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local read_us = tonumber(ARGV[6])
local time = redis.call('TIME')
if tonumber(time[1]) * 1000000 + tonumber(time[2]) - read_us > 30000000 then return 0 end
local length = #start + #version + 1 + #at + #erased
local had_model = redis.call('EXISTS', key)
-- A key of another type is replaced as well.
local head = redis.pcall('GETRANGE', key, 0, length - 1)
if type(head) == 'string' and #head == length and string.sub(head, 1, #start) == start
  and string.sub(head, -#erased) == erased then
  had_model = 0
  local stored = string.sub(head, #start + 1, #start + #version)
  local stored_at = string.sub(head, #start + #version + 2, #start + #version + 1 + #at)
  local erased_us = tonumber(stored_at)
  if stored_at ~= at and erased_us and read_us < erased_us then return 0 end
  -- A merge may have left a higher one.
  if string.find(stored, '^%d+$') and stored > version then version = stored end
end
redis.call('SET', key, start .. version .. '-' .. at .. erased, 'PX', ARGV[1])
return had_model + 1
