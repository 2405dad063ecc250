-- Replaces a record if its version is the expected one, and tells the followers when there is no lease in it.
-- The layout of a record is told in record.rs, which reads what is written here.
--
-- KEYS[1]  the record, and the name of its channel
-- ARGV     1 expected version, or nothing   2 version   3 lease in ms, or nothing   4 note   5 keep for, in ms
--          6 keep, drop or put   7 body   8 its life in ms   9 most bytes of a record   10 longest life in ms
local key = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local longest, limit = tonumber(ARGV[9]), now + tonumber(ARGV[10])
local raw = redis.pcall('GETRANGE', key, 0, longest)
if type(raw) == 'table' and not raw.err:find('WRONGTYPE', 1, true) then return raw end

-- What is there, unless it is over. Anything else than a record of ours counts as none, so that it gets overwritten.
local function there()
  if type(raw) ~= 'string' or #raw < 66 or #raw > longest then return nil end
  if raw:sub(1, 2) ~= 'J1' or not raw:sub(19, 66):match('^%d+$') then return nil end
  local lease_end, note_end = tonumber(raw:sub(19, 33)), tonumber(raw:sub(34, 48))
  local body_end, note_bytes = tonumber(raw:sub(49, 63)), tonumber(raw:sub(64, 66))
  local last = math.max(lease_end, note_end, body_end)
  if 66 + note_bytes > #raw or last <= now or last > limit then return nil end
  return { version = raw:sub(3, 18), body = raw:sub(67 + note_bytes), body_end = body_end }
end

local record = there()
if (record and record.version or '') ~= ARGV[1] then
  return { 0, now, record and raw or false }
end

local lease_end = ARGV[3] ~= '' and now + tonumber(ARGV[3]) or 0
local note_end = now + tonumber(ARGV[5])
local body, body_end = '', 0
if ARGV[6] == 'put' then
  body, body_end = ARGV[7], now + tonumber(ARGV[8])
elseif ARGV[6] == 'keep' and record and record.body_end > now then
  body, body_end = record.body, record.body_end
end

local last = math.max(lease_end, note_end, body_end)
if last > now then
  local head = string.format('%015.0f%015.0f%015.0f%03d', lease_end, note_end, body_end, #ARGV[4])
  redis.call('SET', key, 'J1' .. ARGV[2] .. head .. ARGV[4] .. body)
  redis.call('PEXPIREAT', key, string.format('%.0f', last))
else
  redis.call('DEL', key)
end
if lease_end <= now then
  -- A user who may not publish is told when it subscribes; its followers look again by themselves.
  redis.pcall('PUBLISH', key, '')
end
return { 1, now }
