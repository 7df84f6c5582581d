-- Example 3 of the founding wish list and the batch archive of its part 4, but for the interval.
require("realtime")

-- Log the events to disk (binary, fast)
realtime.AddHook("player:death", {
    type = "file",
    path = "logs/events/deaths.log",
    format = "binary"  -- Compact, fast
})

realtime.AddHook("archive:kills", { type = "file", path = "logs/archive.log" })

-- No death has been logged yet.
assert(#realtime.ReadEventLog("logs/events/deaths.log", { start_time = os.time() - 86400, limit = 1000 }) == 0)

for n = 1, 5 do
    realtime.Emit("player:death", { killer = "John", victim = "Alice", weapon = "crowbar", n = n })
end

-- Later, read the logs
local events = realtime.ReadEventLog("logs/events/deaths.log", {
    start_time = os.time() - 86400,  -- The last 24 hours
    limit = 1000
})
assert(#events == 5)
for n, event in ipairs(events) do
    assert(event.seq == n and event.channel == "player:death" and math.abs(event.time - os.time()) < 60)
    assert(event.data.killer == "John" and event.data.n == n and event.data._rt == nil)
end

-- Collect in memory, write every 5 minutes
local kills_batch = {}

hook.Add("PlayerDeath", "KillsBatch", function(victim, inflictor, attacker)
    if attacker:IsPlayer() then
        table.insert(kills_batch, {
            killer = attacker:Nick(),
            victim = victim:Nick(),
            time = os.time()
        })
    end
end)

local john, alice = host.player({ name = "John" }), host.player({ name = "Alice" })
for _ = 1, 3 do hook.Run("PlayerDeath", alice, john, john) end

-- Here the five minutes are a tenth of a second.
timer.Create("BatchWriteKills", 0.1, 0, function()
    if realtime.Status() ~= "connected" then return end
    if #kills_batch > 0 then
        -- Write the batch to the database (a single query)
        local json = util.TableToJSON(kills_batch)
        realtime.Emit("archive:kills", json)
        kills_batch = {}
    end
end)

-- A batch is an array, so it carries no sender: the hook acts when the event comes back from Redis.
local deadline = host.mono() + 60
timer.Create("check", 0.1, 0, function()
    local archive, reason = realtime.ReadEventLog("logs/archive.log")
    local batch = archive and archive[1]
    local late = host.mono() > deadline
    if not batch and not late then return end
    local good = batch and #archive == 1 and #batch.data == 3 and batch.channel == "archive:kills"
        and batch.data[3].killer == "John" and batch.data[3].victim == "Alice"
    print(good and "1 passed, 0 failed" or "0 passed, 1 failed: " .. tostring(reason))
    host.quit(good and 0 or 1)
end)
