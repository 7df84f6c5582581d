-- The examples of the project's founding wish list, parts 1, 2 and 5, and the cases of salaries and anti-cheat, word for word.
-- Each must work as written.
require("realtime")

local printed, pattern, city, paid, suspicious = {}, {}, nil, nil, nil
local real_print = print
function print(...) printed[#printed + 1] = table.concat({ ... }, "\t") end

-- 2. Listening.
realtime.On("player:death", function(data)
    print("Kill: " .. data.killer .. " killed " .. data.victim)
    -- Do something with data
end)

realtime.On("player:*", function(data)
    pattern[#pattern + 1] = data
end)

realtime.On("city:message", function(data) city = data end)
realtime.On("economy:payment", function(data) paid = data end)
realtime.On("anticheat:suspicious", function(data) suspicious = data end)

-- 1. Emitting.
realtime.Emit("player:death", {
    killer = "John",
    victim = "Alice",
    weapon = "crowbar"
})

local data = { any = "thing" }
local ok = realtime.Emit("custom:event", data)
assert(ok == true)

hook.Add("PlayerDeath", "RealtimeKill", function(victim, inflictor, attacker)
    realtime.Emit("player:kill", {
        killer = attacker:Nick(),
        victim = victim:Nick(),
        weapon = attacker:GetActiveWeapon():GetClass(),
        timestamp = os.time()
    })
end)

hook.Add("HumanCityChat", "RealtimeCityChat", function(ply, msg)
    realtime.Emit("city:message", {
        player = ply:Nick(),
        message = msg,
        job = ply.getJob and ply:getJob() or "Unknown"
    })
end)

-- 5. Hooks of the game. The game calls PlayerDisconnected with a player, who arrives as a table, and without a user id.
hook.Add("PlayerConnect", "RealtimePlayerSpawn", function(name, ip)
    realtime.Emit("player:spawn", {
        name = name,
        ip = ip,
        time = os.time()
    })
end)

hook.Add("PlayerDisconnected", "RealtimePlayerDisconnect", function(name, uid)
    realtime.Emit("player:disconnect", {
        name = name,
        uid = uid,
        time = os.time()
    })
end)

-- Case 1: salaries.
hook.Add("PayPlayerSalary", "PaymentEvent", function(ply, amount)
    realtime.Emit("economy:payment", {
        player = ply:Nick(),
        amount = amount,
        time = os.time()
    })
end)

local john = host.player({ name = "John", weapon = "weapon_crossbow" })
local alice = host.player({ name = "Alice" })
hook.Run("PlayerDeath", alice, john, john)
hook.Run("HumanCityChat", alice, "bonjour")
hook.Run("PlayerConnect", "Zoé", "203.0.113.7:27005")
hook.Run("PlayerDisconnected", alice)
hook.Run("PayPlayerSalary", john, 150000)

-- Case 3: anti-cheat.
local ply = alice
realtime.Emit("anticheat:suspicious", {
    player = ply:Nick(),
    reason = "Trop de kills trop vite",
    kills_per_sec = 5.2,
    time = os.time()
})

local deadline, off = host.mono() + 60, nil
timer.Create("check", 0, 0, function()
    local kill = pattern[2]
    local spawn, left = pattern[3], pattern[4]
    local done = printed[1] == "Kill: John killed Alice" and city and kill and left and paid and suspicious
    if done and not off then
        assert(kill.killer == "John" and kill.victim == "Alice" and kill.weapon == "weapon_crossbow")
        assert(math.abs(kill.timestamp - os.time()) < 60)
        assert(city.player == "Alice" and city.message == "bonjour" and type(city.job) == "string")
        assert(spawn.name == "Zoé" and spawn.ip == "203.0.113.7:27005")
        assert(left.name.name == "Alice" and left.uid == nil)
        assert(paid.player == "John" and paid.amount == 150000)
        assert(suspicious.kills_per_sec == 5.2 and suspicious.reason == "Trop de kills trop vite")
        -- Unsubscribe
        realtime.Off("player:death")
        realtime.Emit("player:death", { killer = "Nobody", victim = "Nobody" })
        off = true
    end
    local over = host.mono() > deadline
    if over or off and #pattern == 5 then
        real_print(over and "0 passed, 1 failed" or "1 passed, 0 failed")
        host.quit(not over and #printed == 1 and 0 or 1)
    end
end)
