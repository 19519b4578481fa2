-- Saves the interest list ARGV[1] at KEYS[1] for ARGV[2] ms, unless the stored one is as
-- new or newer. A list begins with its rank, as text of ARGV[3] bytes; ranks compare as
-- text, and one of the rank ARGV[4] is always replaced ('' = none). The marker of an
-- erased user is a rank, a zero byte and the time of the erasure in microseconds.
-- ARGV[5] is the time in microseconds at which the caller read its data, ARGV[6] the
-- largest age of such data, ARGV[7] the rank of the list that the caller has read ('' =
-- none). Returns 1 = saved, 0 = superseded, 2 = too old; and the list that was replaced,
-- if it has another rank than that ('' = none).
local key, value, length = KEYS[1], ARGV[1], tonumber(ARGV[3])
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local read_us, replaced = tonumber(ARGV[5]), ''
if now_us - read_us > tonumber(ARGV[6]) then return { 2, '' } end
-- A value of another type is replaced.
local head = redis.pcall('GETRANGE', key, 0, length + 20)
if type(head) == 'string' then
  local rank = string.sub(head, 1, length)
  if #rank == length and string.find(rank, '^%d+%-%d+$') then
    if string.byte(head, length + 1) == 0 then
      local erased_us = tonumber(string.sub(head, length + 2)) or 0
      if read_us < erased_us or rank >= string.sub(value, 1, length) then return { 0, '' } end
    elseif rank ~= ARGV[4] and rank >= string.sub(value, 1, length) then
      return { 0, '' }
    elseif rank ~= ARGV[7] then
      replaced = redis.call('GET', key)
    end
  end
end
redis.call('SET', key, value, 'PX', ARGV[2])
return { 1, replaced }
