-- Removes the buffer KEYS[1]. Returns its version, -1 if it has none, -2 if
-- there is no buffer.
local version = redis.call('PEXPIRETIME', KEYS[1])
redis.call('UNLINK', KEYS[1])
return version
