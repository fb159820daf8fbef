-- Everything that is decided about one token's budget, in one call and on Redis' own clock: what was given back,
-- what was refused, and who may go. Seconds throughout.
--
-- The arithmetic is described once, where it is kept in one process: `RateBudget`, `Quota`, `Cooldown` and `LocalGate`.
-- Its numbers stand before this script, as `asana_jobs.gates.BUDGET_NUMBERS` has them, and one set of tests runs
-- against both.
--
-- KEYS: the state (a hash), leases of reads and of writes (sorted sets by expiry), running jobs (the same), the
-- processes that wait for a place among these (a hash), the requests of the last minute by the second (a hash).
-- ARGV[1]: the message as JSON. Answers JSON.
local state_key, running_key, starters_key, counts_key = KEYS[1], KEYS[4], KEYS[5], KEYS[6]
local lanes = { read = KEYS[2], write = KEYS[3], job = running_key }
local message = cjson.decode(ARGV[1])
local limits = message.limits

local GONE = 2 -- who has not asked for a turn or a place for so long does not wait for one any more
local MOST_AHEAD = 60 -- seconds by which looks that return make way for first looks that wait
local SUDDEN = 5 -- seconds by which time may pass faster here than where it was asked, for a message was on its way

local s = {}
local flat = redis.call('HGETALL', state_key)
for i = 1, #flat, 2 do
  s[flat[i]] = flat[i] == 'probe' and flat[i + 1] or tonumber(flat[i + 1])
end

-- Time goes on evenly, whatever the clock of this machine does: when it is put back or ahead, all that is counted
-- from it goes on as if nothing had happened. It must not go back, and not leap ahead of what the asking process saw.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6 + (s.shift or 0)
local due = now
if s.last and now < s.last then
  due = s.last
elseif s.last and message.expected and now > message.expected + SUDDEN then
  due = math.max(s.last, message.expected)
end
s.shift, s.last, now = (s.shift or 0) + due - now, due, due

-- Pace (GCRA), as RateLimiter and RateBudget have it: `ready_at` is when the next request may go.
if not s.estimate then
  s.estimate, s.ceiling = limits.estimate, limits.ceiling
end
local estimate = math.min(math.max(s.estimate, limits.floor / QUOTA_PARTS), limits.maximum)
local gap, ahead, kept, look_gap, look_ahead
local function tune()
  local burst = math.max(estimate / WINDOW, math.min(MIN_BURST, estimate / 10), 1)
  if not limits.known then
    burst = math.min(burst, MIN_BURST)
  end
  local rate = math.max(estimate - burst, estimate / 2) / (WINDOW + limits.jitter)
  gap, ahead = 1 / rate, (burst - 1 + ROUNDING) / rate
  kept = math.min(ahead, KEPT_FOR_CALLS * gap)
  local look_rate = rate * limits.poll_share
  look_gap, look_ahead = 1 / look_rate, (math.max(1, burst * limits.poll_share) - 1 + ROUNDING) / look_rate
end
tune()
local ready_at, look_ready_at = s.ready_at or 0, s.look_ready_at or 0
local function drain(at)
  ready_at = math.max(ready_at, at)
end
local function use(wanted)
  local before, look_before = gap, look_gap
  estimate, s.changed_at = wanted, now
  tune()
  ready_at = now + (ready_at - now) * gap / before
  look_ready_at = now + (look_ready_at - now) * look_gap / look_before
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

-- The requests of the last minute, by the second, as MinuteCounter has them.
local second, sent_now, accepted_now = math.floor(now), 0, 0
local sent, accepted = s.sent or 0, s.accepted or 0
local oldest = s.oldest or 0
if second - oldest > 3 * WINDOW then
  redis.call('DEL', counts_key)
  sent, accepted, oldest = 0, 0, second
end
while oldest <= second - WINDOW do
  local gone = redis.call('HMGET', counts_key, 's' .. oldest, 'a' .. oldest)
  if gone[1] or gone[2] then
    sent, accepted = sent - (gone[1] or 0), accepted - (gone[2] or 0)
    redis.call('HDEL', counts_key, 's' .. oldest, 'a' .. oldest)
  end
  oldest = oldest + 1
end

-- The quota as far as it is known: Quota's increase, decrease and cool_down.
local function cool_down()
  if s.ceiling then
    s.steady_until, s.ceiling_until = now + SETTLING_TIME, now + (s.backoff or limits.backoff)
  end
end
local function decrease()
  local wanted, ceiling = estimate / STEP_FACTOR, estimate
  if estimate > limits.floor then
    -- What passed within a minute is no more than the quota and the burst that the server allows.
    wanted = math.max(limits.floor, math.min(wanted, accepted + accepted_now))
    s.overflow_until = now + WINDOW
  elseif now < (s.overflow_until or 0) then
    ceiling = STEP_FACTOR * limits.floor
  end
  local lasted = now >= (s.changed_at or 0) + limits.max_backoff
  s.backoff = lasted and limits.min_backoff or math.min(2 * (s.backoff or limits.backoff), limits.max_backoff)
  s.ceiling = ceiling
  use(math.max(wanted, limits.floor / QUOTA_PARTS))
  cool_down()
end
local function increase()
  if estimate >= limits.maximum or now < (s.steady_until or 0) then
    return
  end
  if not s.ceiling then
    s.steady_until = now + DOUBLING_INTERVAL
    use(math.min(2 * estimate, limits.maximum))
    return
  end
  local wanted = math.min(STEP_FACTOR * estimate, limits.maximum)
  if wanted < NEAR_CEILING * s.ceiling then
    s.steady_until = now + STEP_INTERVAL
  elseif not s.ceiling_until then
    cool_down() -- an earlier client was refused it, nobody knows when
    return
  elseif now >= s.ceiling_until then
    s.ceiling, s.steady_until, s.ceiling_until = STEP_FACTOR * wanted, now + SETTLING_TIME, now
  else
    return
  end
  use(wanted)
end

-- The pause after a 429: Cooldown, and LocalGate's one probe.
local event, streak = s.event or 0, s.streak or 0
for _, refusal in ipairs(message.refusals) do
  s.rejected = (s.rejected or 0) + 1
  local probe = s.probe and s.probe == refusal.id
  local asked = refusal.seconds -- negative: not said
  if (s.paused_until or refusal.event < event) and not probe then
    s.paused_until = math.max(s.paused_until or 0, now + math.max(0, asked))
  else
    if not s.probe then
      decrease()
    end
    local backoff = math.min(LONGEST_BACKOFF, FIRST_BACKOFF * BACKOFF_FACTOR ^ streak)
    backoff = backoff * (1 + BACKOFF_JITTER * refusal.chance)
    local wait = asked
    if asked < 0 then
      wait = backoff
    elseif streak > 0 then
      wait = math.max(asked, backoff / BACKOFF_FACTOR) -- its number was followed and was too short
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
      sent_now = sent_now - 1
      -- Once a later request has found the pace idle, the lost turn is already forgiven; and at another pace it was
      -- worth something else.
      if lease.at >= (s.changed_at or 0) then
        if now - ahead <= lease.taken then
          ready_at = ready_at - gap
        end
        if lease.routine and now - look_ahead <= lease.look_taken then
          look_ready_at = look_ready_at - look_gap
        end
      end
    end
  elseif lease.answered then
    accepted_now = accepted_now + 1
    if lease.waited and lease.at >= (s.changed_at or 0) then
      increase()
    end
  end
  if lease.id == s.probe then
    s.probe = nil
    if lease.answered then
      s.paused_until, streak = nil, 0
      cool_down()
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
  return (s.passed_over or 0) >= MAX_PASSED_OVER and (s.looks_wait_until or 0) > now
end
local function blocked(ask)
  if s.probe then
    return message.poll_seconds -- its answer is awaited
  end
  if room[ask.lane] <= 0 then
    return message.poll_seconds
  end
  local ready = ready_at
  if s.paused_until then
    ready = math.max(ready, s.paused_until) -- the probe needs nothing but its own turn
  elseif ask.routine then
    ready = math.max(overdue() and ready or ready + kept, look_ready_at)
  elseif overdue() then
    ready = ready + gap -- one turn is the looks'
  end
  return ready > now and ready - now or 0
end
-- The looks that queue come back one after the other. Those that nobody has had a first look at go before them.
local function ticket(from)
  local first = math.min(message.first_looks * look_gap, MOST_AHEAD)
  return math.max(s.ticket or 0, from, now + first)
end
local function slot_for(ask)
  if not ask.running or redis.call('ZSCORE', running_key, ask.running) then
    return true
  end
  return redis.call('ZCARD', running_key) < limits.running
end

-- Processes that wait for places take turns: each one that has waited longer is to get one first.
local function places(ask)
  local granted, since, others, before_us = {}, now, {}, 0
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
    before_us = before_us + (began < since and 1 or 0)
  end
  local free = limits.running - redis.call('ZCARD', running_key) - before_us
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
        at = ticket(at)
        s.ticket = at + look_gap
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
      sent_now = sent_now + 1
      ready_at = math.max(now - ahead, ready_at) + gap
      if ask.routine then
        look_ready_at = math.max(now - look_ahead, look_ready_at) + look_gap
        s.passed_over = math.max(0, (s.passed_over or 0) - MAX_PASSED_OVER)
      elseif (s.looks_wait_until or 0) > now then
        s.passed_over = math.min((s.passed_over or 0) + 1, 2 * MAX_PASSED_OVER) -- looks of another process come late
      end
      if s.paused_until then
        s.probe = id
      end
      granted[#granted + 1] = { id, ready_at - now, look_ready_at - now }
    end
  end
  if ask.routine and #granted < count then
    local again = ask.queue and s.ticket or now + wait
    s.looks_wait_until = math.max(s.looks_wait_until or 0, again + GONE)
  end
  answers[place] = ask.lane == 'job' and places(ask) or { granted = granted, tickets = tickets, wait = wait }
end

-- Those who have just looked are told when to look again, if there is a queue by then: that saves the step in which
-- they would be told.
local reserved = {}
for place, delay in ipairs(message.reservations) do
  local at = ticket(0)
  if at <= now + delay then
    reserved[place] = -1
  else
    reserved[place], s.ticket = at - now, at + look_gap
  end
end

for field, count in pairs({ s = sent_now, a = accepted_now }) do
  if count ~= 0 then
    redis.call('HINCRBY', counts_key, field .. second, count)
  end
end
sent, accepted = sent + sent_now, accepted + accepted_now

local fields = {
  shift = s.shift, last = s.last, ready_at = ready_at, look_ready_at = look_ready_at, ticket = s.ticket,
  sent = sent, accepted = accepted, oldest = oldest, issued = s.issued,
  passed_over = s.passed_over, looks_wait_until = s.looks_wait_until,
  estimate = estimate, changed_at = s.changed_at, backoff = s.backoff, ceiling = s.ceiling,
  steady_until = s.steady_until, ceiling_until = s.ceiling_until, overflow_until = s.overflow_until,
  event = event, streak = streak, paused_until = s.paused_until, rejected = s.rejected,
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

return cjson.encode({
  answers = answers,
  reserved = reserved,
  event = event,
  at = string.format('%.6f', now),
  quota = estimate,
  found = estimate >= limits.maximum or s.ceiling ~= nil,
  pace = WINDOW / gap,
  used = math.max(0, sent) / estimate,
  reads = redis.call('ZCARD', lanes.read),
  writes = redis.call('ZCARD', lanes.write),
  running = redis.call('ZCARD', running_key),
  queued_for = math.max(0, ticket(0) - now),
  paused_for = s.paused_until and math.max(0, s.paused_until - now) or 0,
  reopening = s.probe and true or false,
  rejected = s.rejected or 0,
})
