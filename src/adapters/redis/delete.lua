-- Removes the buffer KEYS[1]. ARGV[1] is the window in ms. Returns whether there
-- was one, and a version at least as high as any that it can have had, also if an
-- earlier call removed it and its reply was lost.
local version = redis.call('PEXPIRETIME', KEYS[1])
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('UNLINK', KEYS[1])
local existed = version ~= -2 and 1 or 0
return { existed, math.max(version, now_ms + tonumber(ARGV[1])) }
