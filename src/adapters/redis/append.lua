#!lua
-- Appends events of one user to the buffer KEYS[1], atomically. The first line
-- makes a full Redis refuse the whole script; without it, Redis checks only the
-- first write.
-- ARGV: the window in ms; the maximum number of events; the time span in ms
-- within which an event id identifies the same event; 1 if the caller waits for
-- replicas; version and length of a buffer that the caller has searched for the
-- event ids already ('' = none). Then for each event: its time in seconds, its
-- member, and the suffix of every member with its event id ('' if it has none).
-- Returns: the number of events in the window; the number of members before; the
-- buffer's version before and after (-2 = no buffer, -1 = no expiry); the server's
-- time in microseconds; for each event 0 = accepted, 1 = duplicate, 2 = outside
-- the window.
-- Its cost is that of commands and of long strings: Lua hashes every byte of a
-- string that it is passed.
local key, first_event = KEYS[1], 7
local window_ms, max_events, span_s = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]) / 1000
local time = redis.call('TIME')
local seconds, micros = tonumber(time[1]), tonumber(time[2])
local now_us = seconds * 1000000 + micros
local now_ms = math.floor(now_us / 1000)
local oldest_us = now_us - window_ms * 1000
local oldest = oldest_us / 1000000
local function text_of(us)
  return string.format('%d.%06d', math.floor(us / 1000000), us % 1000000)
end
local before, length = redis.call('PEXPIRETIME', key), redis.call('ZCARD', key)
-- A version identifies a set of members. Other programs may add members without
-- changing it: then the length differs.
local searched = length == 0 or (before == tonumber(ARGV[5]) and length == tonumber(ARGV[6]))

-- Times of the events with one of the ids, by the suffixes of their members. Read
-- once per call, over the time range of its events. A nested object cannot match:
-- another brace would follow it.
local from, to
local times_by_suffix, sizes = {}, {}
for i = first_event, #ARGV, 3 do
  local suffix = ARGV[i + 2]
  if suffix ~= '' then
    local at = tonumber(ARGV[i])
    if not from or at < from then from = at end
    if not to or at > to then to = at end
    times_by_suffix[suffix] = {}
    sizes[#suffix] = true
  end
end
local function remember(member, at)
  for size in pairs(sizes) do
    local times = times_by_suffix[string.sub(member, -size)]
    if times then table.insert(times, at) end
  end
end
if from and not searched then
  -- In pages, to bound the memory of large events.
  local page, offset, near = 100, 0, nil
  local first = string.format('%.6f', math.max(from - span_s, oldest))
  repeat
    near = redis.call('ZRANGEBYSCORE', key, first,
      string.format('%.6f', to + span_s), 'WITHSCORES', 'LIMIT', offset, page)
    for i = 1, #near, 2 do remember(near[i], tonumber(near[i + 1])) end
    offset = offset + page
  until #near < 2 * page
end
local function has_id(suffix, at)
  for _, other in ipairs(times_by_suffix[suffix] or {}) do
    -- Half a microsecond more: doubles round the microseconds.
    if math.abs(other - at) <= span_s + 0.0000005 then return true end
  end
  return false
end

local outcomes, added = {}, 0
for i = first_event, #ARGV, 3 do
  local at, member, suffix = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
  local outcome = 0
  if at < oldest then
    outcome = 2
  elseif suffix ~= '' and has_id(suffix, at) then
    outcome = 1
  elseif redis.call('ZADD', key, 'NX', ARGV[i], member) == 0 then
    outcome = 1
  else
    if suffix ~= '' then remember(member, at) end
    added = added + 1
  end
  table.insert(outcomes, outcome)
end

-- Pruned only by an append that stores something: a buffer pruned to nothing
-- would lose its version.
local accepted, count = added > 0, nil
if accepted then
  count = length + added - redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. text_of(oldest_us))
  local surplus = count - max_events
  if surplus > 0 then
    redis.call('ZREMRANGEBYRANK', key, 0, surplus - 1)
    count = max_events
    -- An event that the cap drops at once was not accepted.
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

-- The version of the buffer is its expiry. It rises with each append, even if the
-- clock runs back, and is replicated and persisted with the key. After a
-- redelivery it is set again: without a write, WAIT would not wait.
local after = before
if accepted then
  after = math.max(before + 1, now_ms + window_ms)
  redis.call('PEXPIREAT', key, string.format('%d', after))
elseif before >= 0 and ARGV[4] == '1' then
  redis.call('PEXPIREAT', key, string.format('%d', before))
end
return { count, length, before, after, now_us, outcomes }
