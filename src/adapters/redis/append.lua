#!lua
-- Appends events of one user to the buffer KEYS[1], atomically. The first line
-- makes a full Redis refuse the whole script; without it, Redis checks only the
-- first write.
-- ARGV: the window in ms; the maximum number of events; 1 if the caller waits for
-- replicas; the server's time in microseconds at which the append was sent, as the
-- sender estimates it, never later than the truth; version (-2 = no buffer) and
-- length of the buffer in which the caller has looked for the event ids ('' =
-- none). Then for each event: its time in seconds, its member, and what is known
-- of its id:
--   ''            nothing to compare;
--   '*'           the buffer has it: a duplicate, whose member is not sent;
--   '1,2'         a duplicate if one of these events of the call is accepted;
--   ',"event_id"' the end of every member with its id, which is searched for among
--                 the 200 members nearest to its time. One event a call.
-- Returns: 0 = applied, 1 = the buffer is another one than the caller's, 2 =
-- refused: sent too long ago, or before an erasure, 3 = refused: TIME is before
-- the year 2001 inside of scripts; the number of events in the window; the number
-- of events before; the version before and after (-2 = no buffer, -1 = no expiry);
-- the server's time in microseconds; how many of the oldest events before were
-- removed; for each event 0 = accepted, 1 = duplicate, 2 = outside the window.
-- Its work is the events times a logarithm of the buffer: it reads no member,
-- except the marker of an erasure and, in the last case, those 200.
local key, first_event = KEYS[1], 7
local MAX_AGE_US, ERASED_FOR_US, MAX_PRUNED, MAX_SIDE = 30000000, 60000000, 200, 100
local SPAN_S = 600
local window_ms, max_events = tonumber(ARGV[1]), tonumber(ARGV[2])
local sent_us = tonumber(ARGV[4])
local time = redis.call('TIME')
local seconds, micros = tonumber(time[1]), tonumber(time[2])
local now_us = seconds * 1000000 + micros
-- An expiry from this time would remove the buffer.
if seconds < 1000000000 then return { 3, 0, 0, -2, -2, now_us, 0, {} } end
local now_ms = math.floor(now_us / 1000)
local oldest_us = now_us - window_ms * 1000
local oldest = oldest_us / 1000000
local oldest_text = string.format('%d.%06d', math.floor(oldest_us / 1000000), oldest_us % 1000000)

local before, length = redis.call('PEXPIRETIME', key), redis.call('ZCARD', key)
local marker, erased_us, erased_version = nil, 0, 0
if length > 0 then
  marker = redis.call('ZRANGEBYSCORE', key, '0', '0', 'LIMIT', '0', '1')[1]
  if marker then
    local at, version = string.match(marker, '^{"erased":true,"at":"(%d+)","version":"(%d+)"}$')
    if at then
      erased_us, erased_version, length = tonumber(at), tonumber(version), length - 1
    else
      marker = nil
    end
  end
end
if length == 0 then before = -2 end
if now_us - sent_us > MAX_AGE_US or sent_us < erased_us then
  return { 2, 0, length, before, before, now_us, 0, {} }
end
-- A version identifies a set of members. Other programs may add members without
-- changing it: then the length differs.
if ARGV[5] ~= '' and (before ~= tonumber(ARGV[5]) or length ~= tonumber(ARGV[6])) then
  return { 1, 0, length, before, before, now_us, 0, {} }
end

local outcomes, added = {}, 0
local function was_accepted(events)
  for index in string.gmatch(events, '%d+') do
    if outcomes[tonumber(index)] == 0 then return true end
  end
  return false
end
local function is_near(suffix, time_text)
  local at = tonumber(time_text)
  local from = string.format('%.6f', math.max(at - SPAN_S, oldest))
  -- Half a microsecond more: doubles round the microseconds.
  local to = string.format('%.6f', at + SPAN_S)
  local before_it = redis.call('ZREVRANGEBYSCORE', key, time_text, from, 'LIMIT', 0, MAX_SIDE)
  local after_it = redis.call('ZRANGEBYSCORE', key, '(' .. time_text, to, 'LIMIT', 0, MAX_SIDE)
  for _, members in ipairs({ before_it, after_it }) do
    for _, member in ipairs(members) do
      if string.sub(member, -#suffix) == suffix then return true end
    end
  end
  return false
end
for i = first_event, #ARGV, 3 do
  local id = ARGV[i + 2]
  local outcome = 0
  if tonumber(ARGV[i]) < oldest then
    outcome = 2
  elseif id == '*' then
    outcome = 1
  elseif id ~= '' and string.sub(id, 1, 1) ~= ',' and was_accepted(id) then
    outcome = 1
  elseif string.sub(id, 1, 1) == ',' and is_near(id, ARGV[i]) then
    outcome = 1
  elseif redis.call('ZADD', key, 'NX', ARGV[i], ARGV[i + 1]) == 0 then
    outcome = 1
  else
    added = added + 1
  end
  outcomes[#outcomes + 1] = outcome
end

-- Pruned only by an append that stores something: a buffer pruned to nothing
-- would lose its version. A long idle buffer is pruned by several appends.
local accepted, removed = added > 0, 0
local members = length + added
local expired = length == 0 and 0 or redis.call('ZCOUNT', key, '(0', '(' .. oldest_text)
if accepted then
  local surplus = math.min(math.max(expired, members - max_events), MAX_PRUNED + added)
  if surplus > 0 then
    local first = marker and 1 or 0
    redis.call('ZREMRANGEBYRANK', key, first, first + surplus - 1)
    members = members - surplus
    expired = math.max(expired - surplus, 0)
    removed = surplus
    -- An event that the cap drops at once was not accepted.
    accepted = false
    for i = first_event, #ARGV, 3 do
      local index = (i - first_event) / 3 + 1
      if outcomes[index] == 0 then
        if redis.call('ZSCORE', key, ARGV[i + 1]) then
          accepted = true
        else
          outcomes[index] = 2
          removed = removed - 1
        end
      end
    end
  end
end

-- The version of the buffer is its expiry. It rises with each append, even if the
-- clock runs back, and is replicated and persisted with the key. After a
-- redelivery it is set again: without a write, WAIT would not wait.
local after = before
if accepted then
  after = math.max(before + 1, now_ms + window_ms, erased_version + 1)
  redis.call('PEXPIREAT', key, string.format('%d', after))
  if marker and now_us - erased_us > ERASED_FOR_US then redis.call('ZREM', key, marker) end
elseif before >= 0 and ARGV[3] == '1' then
  redis.call('PEXPIREAT', key, string.format('%d', before))
end
return { 0, members - expired, length, before, after, now_us, removed, outcomes }
