#!lua flags=allow-oom
-- Replaces the model KEYS[1] by a marker without data, for ARGV[1] ms. ARGV[2] is
-- the start of recsys's values, ARGV[3] a version, ARGV[4] the number of digits of
-- a version, ARGV[5] the end of a marker after its version. The marker's version is
-- above ARGV[3] and above the model's. Returns 1 if there was a model.
-- Erasing must be possible in a full Redis.
local key, start, digits = KEYS[1], ARGV[2], tonumber(ARGV[4])
local value = redis.call('GET', key)
local version, had_model = tonumber(ARGV[3]), 0
if value then
  if string.sub(value, 1, #start) == start then
    version = math.max(version, tonumber(string.sub(value, #start + 1, #start + digits)) or 0)
    if string.sub(value, #start + digits + 1) ~= ARGV[5] then had_model = 1 end
  else
    had_model = 1
  end
end
local marker = start .. string.format('%0' .. digits .. '.0f', version + 1) .. ARGV[5]
redis.call('SET', key, marker, 'PX', ARGV[1])
return had_model
