-- Saves the model ARGV[1] at KEYS[1] for ARGV[2] ms, unless the stored model is as
-- new or newer. A model of recsys begins with ARGV[3], then its rank as text of
-- ARGV[4] bytes; ranks compare as text. A model without a rank is older than any
-- other, and one of the rank ARGV[5] is always replaced ('' = none).
local key, value, start, length = KEYS[1], ARGV[1], ARGV[3], tonumber(ARGV[4])
local head = redis.call('GETRANGE', key, 0, #start + length - 1)
local rank = string.sub(head, #start + 1)
if string.sub(head, 1, #start) == start and #rank == length
  and string.find(rank, '^%d+%-%d+$') and rank ~= ARGV[5]
  and rank >= string.sub(value, #start + 1, #start + length) then
  return 0
end
redis.call('SET', key, value, 'PX', ARGV[2])
return 1
