-- Sets the score ARGV[2] of the item ARGV[1] in the ranking KEYS[1], or removes the item
-- if it is ''; keeps the ARGV[3] items with the highest scores, for ARGV[4] ms.
if ARGV[2] == '' then return redis.call('ZREM', KEYS[1], ARGV[1]) end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
local surplus = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[3])
if surplus > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, surplus - 1) end
return redis.call('PEXPIRE', KEYS[1], ARGV[4])
