#!lua
-- Saves the model ARGV[1] at KEYS[1] for ARGV[2] ms, unless the stored model is as
-- new or newer. A model of recsys begins with ARGV[3], then its rank as text of
-- ARGV[4] bytes: a version and a time of as many digits each. Ranks compare as text.
-- A model without a rank is older than any other, and one of the rank ARGV[5] is
-- always replaced ('' = none). ARGV[6] is the server's time in microseconds at which
-- the model's events were read, ARGV[7] what follows the rank in the marker of an
-- erasure, whose rank is its version and time. Refused, too, if that read was more
-- than 30 s ago, or before the erasure. Returns 1 if the model was saved.
local key, value, start, length = KEYS[1], ARGV[1], ARGV[3], tonumber(ARGV[4])
local read_us, erased = tonumber(ARGV[6]), ARGV[7]
local time = redis.call('TIME')
if tonumber(time[1]) * 1000000 + tonumber(time[2]) - read_us > 30000000 then return 0 end
local head = redis.call('GETRANGE', key, 0, #start + length + #erased - 1)
local rank = string.sub(head, #start + 1, #start + length)
if string.sub(head, 1, #start) == start and #rank == length
  and string.find(rank, '^%d+%-%d+$') then
  local digits = (length - 1) / 2
  local new_rank = string.sub(value, #start + 1, #start + length)
  if string.sub(head, #start + length + 1) == erased then
    if string.sub(new_rank, 1, digits) <= string.sub(rank, 1, digits)
      or read_us < tonumber(string.sub(rank, digits + 2)) then
      return 0
    end
  elseif rank ~= ARGV[5] and rank >= new_rank then
    return 0
  end
end
redis.call('SET', key, value, 'PX', ARGV[2])
return 1
