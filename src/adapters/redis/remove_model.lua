#!lua flags=allow-oom
-- Replaces the model KEYS[1] of a user whose events were copied to another one by a
-- marker, for ARGV[1] ms. ARGV[2] is the start of recsys's values, ARGV[3] the marker's
-- version as text of the width that ranks have, ARGV[4] what follows the rank in a
-- marker, ARGV[5] the server's time in microseconds at which the buffer was observed. The
-- marker has the time of an earlier erasure, or 0, and the higher of both versions. A
-- model of a higher version stays. Returns 0 if that observation was more than 30 s ago
-- or before an erasure, else 1.
-- It must be possible in a full Redis.
local key, start, version, erased = KEYS[1], ARGV[2], ARGV[3], ARGV[4]
local read_us = tonumber(ARGV[5])
local time = redis.call('TIME')
if tonumber(time[1]) * 1000000 + tonumber(time[2]) - read_us > 30000000 then return 0 end
local at = string.rep('0', #version)
-- A key of another type is replaced as well.
local head = redis.pcall('GETRANGE', key, 0, #start + 2 * #version + #erased)
if type(head) == 'string' and string.sub(head, 1, #start) == start then
  local stored = string.sub(head, #start + 1, #start + #version)
  if string.find(stored, '^%d+$') and #stored == #version then
    if string.sub(head, #start + 2 * #version + 2) == erased then
      at = string.sub(head, #start + #version + 2, #start + 2 * #version + 1)
      local erased_us = tonumber(at)
      if not erased_us or read_us < erased_us then return 0 end
      if stored > version then version = stored end
    elseif stored > version then
      return 1
    end
  end
end
redis.call('SET', key, start .. version .. '-' .. at .. erased, 'PX', ARGV[1])
return 1
