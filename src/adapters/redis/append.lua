#!lua
-- Appends events of one user to the buffer KEYS[1], in one step. The first line
-- lets Redis refuse the whole script when it is full: without it, only the
-- first write of a script is refused, and that one here frees memory.
-- ARGV: window in ms, largest number of events, ms within which an event id is
-- the same event, 1 if replicas will be waited for; then for each event: time
-- in seconds, member, and the bytes that end every member with its event id (''
-- if it has none).
-- Returns the number of events in the window, of all members before, the
-- buffer's version before and after (-2 no buffer, -1 a buffer without), the
-- server's time in microseconds and, for each event, one of 0 accepted, 1
-- duplicate, 2 outside the window.
local key = KEYS[1]
local window_ms, most, span_s = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]) / 1000
local time = redis.call('TIME')
local now_s = tonumber(time[1]) + tonumber(time[2]) / 1000000
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local oldest = now_s - window_ms / 1000
local oldest_text = string.format('%.6f', oldest)
local before, held = redis.call('PEXPIRETIME', key), redis.call('ZCARD', key)

-- Times of the events that carry one of the ids, by the bytes that end their
-- members: read once for the whole call, over the time that can matter to it.
-- Nothing nested can end a member so: there a second brace would follow.
local from, to
local known, lengths = {}, {}
for i = 5, #ARGV, 3 do
  local ending = ARGV[i + 2]
  if ending ~= '' then
    local at = tonumber(ARGV[i])
    if not from or at < from then from = at end
    if not to or at > to then to = at end
    known[ending] = {}
    lengths[#ending] = true
  end
end
local function remember(member, at)
  for length in pairs(lengths) do
    local times = known[string.sub(member, -length)]
    if times then table.insert(times, at) end
  end
end
if from then
  -- In pages, so that large events do not meet in memory.
  local page, offset, near = 100, 0, nil
  local first = string.format('%.6f', math.max(from - span_s, oldest))
  repeat
    near = redis.call('ZRANGEBYSCORE', key, first,
      string.format('%.6f', to + span_s), 'WITHSCORES', 'LIMIT', offset, page)
    for i = 1, #near, 2 do remember(near[i], tonumber(near[i + 1])) end
    offset = offset + page
  until #near < 2 * page
end
local function has_id(ending, at)
  for _, other in ipairs(known[ending] or {}) do
    -- Half a microsecond allows for what a double loses of a microsecond.
    if math.abs(other - at) <= span_s + 0.0000005 then return true end
  end
  return false
end

local outcomes, accepted = {}, false
for i = 5, #ARGV, 3 do
  local at, member, ending = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
  local outcome = 0
  if at < oldest then
    outcome = 2
  elseif redis.call('ZSCORE', key, member) or (ending ~= '' and has_id(ending, at)) then
    outcome = 1
  else
    redis.call('ZADD', key, ARGV[i], member)
    if ending ~= '' then remember(member, at) end
    accepted = true
  end
  table.insert(outcomes, outcome)
end

-- Pruned only by an append that leaves something: a buffer pruned to nothing
-- would forget its version.
if accepted then
  redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. oldest_text)
  local surplus = redis.call('ZCARD', key) - most
  if surplus > 0 then
    redis.call('ZREMRANGEBYRANK', key, 0, surplus - 1)
    -- An event that the cap drops at once was never taken.
    accepted = false
    for i = 5, #ARGV, 3 do
      local index = (i - 5) / 3 + 1
      if outcomes[index] == 0 then
        if redis.call('ZSCORE', key, ARGV[i + 1]) then accepted = true else outcomes[index] = 2 end
      end
    end
  end
end

-- The version of the buffer is its expiry: it rises with each append, even if
-- the clock runs back, and reaches replicas and the append-only file with it.
-- Setting it anew is also how a redelivery gives WAIT something to wait for.
local after = before
if accepted then
  after = math.max(before + 1, now_ms + window_ms)
  redis.call('PEXPIREAT', key, string.format('%.0f', after))
elseif before >= 0 and ARGV[4] == '1' then
  redis.call('PEXPIREAT', key, string.format('%.0f', before))
end
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
return { redis.call('ZCOUNT', key, oldest_text, '+inf'), held, before, after, now_us, outcomes }
