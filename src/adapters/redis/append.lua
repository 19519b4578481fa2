#!lua
-- Appends events of one user to the buffer KEYS[1], in one step. The first line
-- lets Redis refuse the whole script when it is full: without it, only the
-- first write of a script is refused, and that one here frees memory.
-- ARGV: window in ms, largest number of events, ms within which an event id is
-- the same event, 1 if replicas will be waited for, and the version and the
-- number of members of the buffer in which the caller has looked for the event
-- ids already ('' = in none); then for each event: time in seconds, member, and
-- the bytes that end every member with its event id ('' if it has none).
-- Returns the number of events in the window, of all members before, the
-- buffer's version before and after (-2 no buffer, -1 a buffer without), the
-- server's time in microseconds and, for each event, one of 0 accepted, 1
-- duplicate, 2 outside the window.
-- Calls of commands and long strings are what it costs: Lua hashes every byte of
-- a string that it is given.
local key, first_event = KEYS[1], 7
local window_ms, most, span_s = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]) / 1000
local time = redis.call('TIME')
local seconds, micros = tonumber(time[1]), tonumber(time[2])
local now_us = seconds * 1000000 + micros
local now_ms = math.floor(now_us / 1000)
local oldest_us = now_us - window_ms * 1000
local oldest = oldest_us / 1000000
local function text_of(us)
  return string.format('%d.%06d', math.floor(us / 1000000), us % 1000000)
end
local before, held = redis.call('PEXPIRETIME', key), redis.call('ZCARD', key)
-- A version is that of one set of members. Who leaves it as it is, as other
-- programs may, changes their number.
local searched = held == 0 or (before == tonumber(ARGV[5]) and held == tonumber(ARGV[6]))

-- Times of the events that carry one of the ids, by the bytes that end their
-- members: read once for the whole call, over the time that can matter to it.
-- Nothing nested can end a member so: there a second brace would follow.
local from, to
local known, lengths = {}, {}
for i = first_event, #ARGV, 3 do
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
if from and not searched then
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

local outcomes, added = {}, 0
for i = first_event, #ARGV, 3 do
  local at, member, ending = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
  local outcome = 0
  if at < oldest then
    outcome = 2
  elseif ending ~= '' and has_id(ending, at) then
    outcome = 1
  elseif redis.call('ZADD', key, 'NX', ARGV[i], member) == 0 then
    outcome = 1
  else
    if ending ~= '' then remember(member, at) end
    added = added + 1
  end
  table.insert(outcomes, outcome)
end

-- Pruned only by an append that leaves something: a buffer pruned to nothing
-- would forget its version.
local accepted, count = added > 0, nil
if accepted then
  count = held + added - redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. text_of(oldest_us))
  local surplus = count - most
  if surplus > 0 then
    redis.call('ZREMRANGEBYRANK', key, 0, surplus - 1)
    count = most
    -- An event that the cap drops at once was never taken.
    accepted = false
    for i = first_event, #ARGV, 3 do
      local index = (i - first_event) / 3 + 1
      if outcomes[index] == 0 then
        if redis.call('ZSCORE', key, ARGV[i + 1]) then accepted = true else outcomes[index] = 2 end
      end
    end
  end
else
  count = redis.call('ZCOUNT', key, text_of(oldest_us), '+inf')
end

-- The version of the buffer is its expiry: it rises with each append, even if
-- the clock runs back, and reaches replicas and the append-only file with it.
-- Setting it anew is also how a redelivery gives WAIT something to wait for.
local after = before
if accepted then
  after = math.max(before + 1, now_ms + window_ms)
  redis.call('PEXPIREAT', key, string.format('%d', after))
elseif before >= 0 and ARGV[4] == '1' then
  redis.call('PEXPIREAT', key, string.format('%d', before))
end
return { count, held, before, after, now_us, outcomes }
