-- Everything that is decided about one token's budget, in one call and on Redis' own clock: what was given back,
-- what was refused, and who may go. Seconds throughout. The rules are those of asana_jobs' gate in one process.
--
-- KEYS: the state (a hash), leases of reads and of writes (sorted sets by expiry), running jobs (the same), the
-- processes that wait for a place among these (a hash).
-- ARGV[1]: the message as JSON. Answers JSON.
local state_key, running_key, starters_key = KEYS[1], KEYS[4], KEYS[5]
local lanes = { read = KEYS[2], write = KEYS[3], job = running_key }
local message = cjson.decode(ARGV[1])
local limits = message.limits
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6

local WINDOW, FEW, HAIR = 60, 5, 1e-6
local KEPT, PASSED_OVER = 5, 9 -- requests that looks leave for calls; calls that they let pass before it is their turn
local GONE = 2 -- who has not asked for a turn or a place for so long does not wait for one any more
local FIRST, FACTOR, LONGEST = 2, 3, 60 -- our own backoff where Asana does not say how long
local CALM, CLIMBING, DOUBLING, STEP, NEAR = 60, 10, 1, 1.5, 0.95

local s = {}
local flat = redis.call('HGETALL', state_key)
for i = 1, #flat, 2 do
  s[flat[i]] = flat[i] == 'probe' and flat[i + 1] or tonumber(flat[i + 1])
end
if not s.estimate and limits.expected then -- found out by an earlier client, nobody knows when
  s.estimate = limits.expected
  if s.estimate < limits.most then
    s.ceiling, s.ceiling_until = math.min(STEP * s.estimate, limits.most), now + limits.patience / 2
  end
end
local estimate = math.min(math.max(s.estimate or limits.floor, limits.floor / 20), limits.most)
local event, streak = s.event or 0, s.streak or 0

local rate, burst
local function tune()
  local most = limits.known and math.huge or FEW
  burst = math.min(most, math.max(estimate / WINDOW, math.min(FEW, estimate / 10), 1))
  rate = math.max(estimate - burst, estimate / 2) / (WINDOW + limits.slack)
end
tune()
local part = limits.poll_share
local function look_burst()
  return math.max(1, burst * part)
end

-- Pace: when the next request would leave if all of them had been evenly spaced.
local pace, looking = s.pace or 0, s.looking or 0
local function pace_ready()
  return pace - (burst - 1 + HAIR) / rate
end
local function kept()
  return math.min(burst - 1 + HAIR, KEPT) / rate
end
local function looking_ready()
  return looking - (look_burst() - 1 + HAIR) / (rate * part)
end
local function drain(at)
  pace = math.max(pace, at + (burst - 1 + HAIR) / rate)
  looking = math.max(looking, at + (look_burst() - 1 + HAIR) / (rate * part))
end
local function use(wanted)
  local ready, look_ready, old = pace_ready(), looking_ready(), rate
  estimate = wanted
  s.stepped_at = now
  tune()
  pace = now + (ready - now) * old / rate + (burst - 1 + HAIR) / rate
  looking = now + (look_ready - now) * old / rate + (look_burst() - 1 + HAIR) / (rate * part)
end

-- Who was killed holds nothing any more.
for _, lane in pairs(lanes) do
  redis.call('ZREMRANGEBYSCORE', lane, '-inf', now)
end
if s.probe and not (redis.call('ZSCORE', lanes.read, s.probe) or redis.call('ZSCORE', lanes.write, s.probe)) then
  s.probe = nil
end
if message.recovering then
  drain(now) -- what was granted last may be forgotten, and others went ahead without asking
end

-- Two buckets say about how much of the quota was used in the last minute.
local minute = math.floor(now / WINDOW)
if s.minute ~= minute then
  s.before = s.minute == minute - 1 and s.sent or 0
  s.sent, s.minute = 0, minute
end

local function fall()
  s.ceiling = estimate
  local wanted = estimate / STEP
  if estimate > limits.floor then
    wanted = math.max(limits.floor, wanted)
  end
  s.calm_until, s.ceiling_until = now + CALM, now + limits.patience
  use(math.max(wanted, limits.floor / 20))
end

local function grow(sent_at)
  if sent_at < (s.stepped_at or 0) or estimate >= limits.most or now < (s.calm_until or 0) then
    return
  end
  if not s.ceiling then
    s.calm_until = now + DOUBLING
    use(math.min(2 * estimate, limits.most))
    return
  end
  local wanted = math.min(STEP * estimate, limits.most)
  if wanted < NEAR * s.ceiling then
    s.calm_until = now + CLIMBING
  elseif now >= (s.ceiling_until or 0) then
    s.ceiling, s.calm_until, s.ceiling_until = STEP * wanted, now + CALM, now
  else
    return
  end
  use(wanted)
end

for _, refusal in ipairs(message.refusals) do
  s.rejected = (s.rejected or 0) + 1
  local probe = s.probe and s.probe == refusal.id
  local asked = refusal.seconds -- negative: not said
  if (s.paused_until or refusal.event < event) and not probe then
    s.paused_until = math.max(s.paused_until or 0, now + math.max(0, asked))
  else
    if not probe then
      fall()
    end
    local backoff = math.min(LONGEST, FIRST * FACTOR ^ streak) * (1 + refusal.chance / 4)
    local wait = asked
    if asked < 0 then
      wait = backoff
    elseif streak > 0 then
      wait = math.max(asked, backoff / FACTOR) -- its number was followed and was too short
    end
    s.paused_until = math.max(s.paused_until or 0, now + wait)
    event, streak, s.probe = event + 1, streak + 1, nil
  end
  drain(s.paused_until)
end

for _, lease in ipairs(message.releases) do
  local held = redis.call('ZREM', lanes[lease.lane], lease.id) == 1
  if lease.unsent then
    if held then
      pace = now <= pace and pace - 1 / rate or pace
      looking = lease.routine and now <= looking and looking - 1 / (rate * part) or looking
      s.sent = s.sent - 1
    end
  elseif lease.answered and lease.waited then
    grow(lease.at)
  end
  if lease.id == s.probe then
    s.probe = nil
    if lease.answered then
      s.paused_until, streak = nil, 0
      if s.ceiling then
        s.calm_until, s.ceiling_until = now + CALM, now + limits.patience
      end
    end
  end
end

for _, lease in ipairs(message.held) do
  local seconds = lease.lane == 'job' and message.place_seconds or message.lease_seconds
  redis.call('ZADD', lanes[lease.lane], now + seconds, lease.id)
end

-- Who may go. Each place in the queue is asked about in the caller's order.
local room = {
  read = limits.reads - redis.call('ZCARD', lanes.read),
  write = limits.writes - redis.call('ZCARD', lanes.write),
}
-- Looks that wait are not passed over for ever, not even where calls use all of the pace.
local function overdue()
  return (s.passed_over or 0) >= PASSED_OVER and (s.looks_wait_until or 0) > now
end
local function blocked(ask)
  if s.probe then
    return message.poll_seconds -- its answer is awaited
  end
  if room[ask.lane] <= 0 then
    return message.poll_seconds
  end
  local ready = pace_ready()
  if s.paused_until then
    ready = math.max(ready, s.paused_until) -- the probe needs nothing but its own turn
  elseif ask.routine then
    ready = math.max(overdue() and ready or ready + kept(), looking_ready())
  elseif overdue() then
    ready = ready + 1 / rate -- one turn is the looks'
  end
  return ready > now and ready - now or 0
end
local function slot_for(ask)
  if not ask.running or redis.call('ZSCORE', running_key, ask.running) then
    return true
  end
  return redis.call('ZCARD', running_key) < limits.running
end

-- Processes that wait for places take turns: each one that has waited longer is to get one first.
local function places(ask)
  local granted, since, others, ahead = {}, now, {}, 0
  local waiting = redis.call('HGETALL', starters_key)
  for i = 1, #waiting, 2 do
    local began, asked = waiting[i + 1]:match('(%S+) (%S+)')
    if waiting[i] == message.process then
      since = tonumber(began)
    elseif tonumber(asked) + GONE < now then
      redis.call('HDEL', starters_key, waiting[i])
    else
      others[#others + 1] = tonumber(began)
    end
  end
  for _, began in ipairs(others) do
    ahead = ahead + (began < since and 1 or 0)
  end
  local free = limits.running - redis.call('ZCARD', running_key) - ahead
  for _ = 1, math.min(ask.count, free) do
    s.issued = (s.issued or 0) + 1
    local id = message.process .. ':' .. string.format('%d', s.issued)
    redis.call('ZADD', running_key, now + message.place_seconds, id)
    granted[#granted + 1] = id
    since = now
  end
  if #granted < ask.count then
    redis.call('HSET', starters_key, message.process, string.format('%.6f %.6f', since, now))
  else
    redis.call('HDEL', starters_key, message.process)
  end
  return { granted = granted, tickets = {}, wait = #granted < ask.count and message.place_poll_seconds or 0 }
end

if not message.starting then
  redis.call('HDEL', starters_key, message.process)
end

local answers = {}
for place, ask in ipairs(message.asks) do
  local granted, tickets, wait = {}, {}, 0
  local count = ask.lane == 'job' and 0 or ask.count
  -- Behind a queue of looks that were told when to come back, a new one queues up.
  local queued = ask.queue and ask.routine and not ask.returning and (s.ticket or 0) > now
  for _ = 1, count do
    wait = blocked(ask)
    if queued or wait > 0 then
      if not ask.queue then
        break
      end
      local at = now + wait
      if ask.routine then
        at = math.max(s.ticket or 0, at)
        s.ticket = at + 1 / (rate * part)
      end
      tickets[#tickets + 1] = at - now
    elseif not slot_for(ask) then
      wait = -1 -- as many jobs are running as may
      break
    else
      s.issued = (s.issued or 0) + 1
      local id = message.process .. ':' .. string.format('%d', s.issued)
      redis.call('ZADD', lanes[ask.lane], now + message.lease_seconds, id)
      if ask.running then
        redis.call('ZADD', running_key, now + message.intent_seconds, ask.running)
      end
      room[ask.lane] = room[ask.lane] - 1
      s.sent = s.sent + 1
      pace = math.max(now, pace) + 1 / rate
      if ask.routine then
        looking = math.max(now, looking) + 1 / (rate * part)
        s.passed_over = math.max(0, (s.passed_over or 0) - PASSED_OVER)
      elseif (s.looks_wait_until or 0) > now then
        s.passed_over = math.min((s.passed_over or 0) + 1, 2 * PASSED_OVER) -- looks of another process come late
      end
      if s.paused_until then
        s.probe = id
      end
      granted[#granted + 1] = id
    end
  end
  if ask.routine and #granted < count then
    local again = ask.queue and s.ticket or now + wait
    s.looks_wait_until = math.max(s.looks_wait_until or 0, again + GONE)
  end
  answers[place] = ask.lane == 'job' and places(ask) or { granted = granted, tickets = tickets, wait = wait }
end

local fields = {
  estimate = estimate, pace = pace, looking = looking, event = event, streak = streak, stepped_at = s.stepped_at,
  paused_until = s.paused_until, ceiling = s.ceiling, calm_until = s.calm_until, ceiling_until = s.ceiling_until,
  rejected = s.rejected, issued = s.issued, ticket = s.ticket, minute = s.minute, sent = s.sent, before = s.before,
  passed_over = s.passed_over, looks_wait_until = s.looks_wait_until,
}
local written = {}
for name, value in pairs(fields) do
  written[#written + 1] = name
  written[#written + 1] = string.format('%.6f', value)
end
redis.call('HSET', state_key, unpack(written))
if s.probe then
  redis.call('HSET', state_key, 'probe', s.probe)
else
  redis.call('HDEL', state_key, 'probe')
end
if not s.paused_until then
  redis.call('HDEL', state_key, 'paused_until')
end
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, message.forget_seconds)
end

local used = math.max(0, s.sent + s.before * (1 - (now / WINDOW - minute)))
return cjson.encode({
  answers = answers,
  event = event,
  at = string.format('%.6f', now),
  quota = estimate,
  found = estimate >= limits.most or s.ceiling ~= nil,
  pace = rate * WINDOW,
  used = used / estimate,
  reads = redis.call('ZCARD', lanes.read),
  writes = redis.call('ZCARD', lanes.write),
  running = redis.call('ZCARD', running_key),
  paused_for = s.paused_until and math.max(0, s.paused_until - now) or 0,
  reopening = s.probe and true or false,
  rejected = s.rejected or 0,
})
