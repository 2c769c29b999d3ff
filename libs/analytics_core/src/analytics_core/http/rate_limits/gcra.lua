-- `take` of gcra.py for one caller, by Redis' clock, so that replicas need not agree on the time.
-- KEYS[1]: the caller. ARGV: interval and depth in microseconds. Answers whether it may pass, and how long it is busy.
local interval, depth = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
-- Doubles hold microseconds exactly until the year 2255; %.0f writes all of their digits.
local now = time[1] * 1000000 + time[2]
local busy = math.min(math.max((tonumber(redis.call('GET', KEYS[1])) or now) - now, 0), depth)
local allowed = busy + interval <= depth
if allowed then
    busy = busy + interval
end
redis.call('SET', KEYS[1], string.format('%.0f', now + busy), 'PX', math.ceil(busy / 1000))
return {allowed and 1 or 0, busy}
