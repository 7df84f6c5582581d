-- The examples of the project's founding wish list, parts 1 and 2, word for word. Each must work as written.
require("realtime")

local printed, pattern, city = {}, {}, nil
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

local john = host.player({ name = "John", weapon = "weapon_crossbow" })
local alice = host.player({ name = "Alice" })
hook.Run("PlayerDeath", alice, john, john)
hook.Run("HumanCityChat", alice, "bonjour")

local deadline, off = host.mono() + 60, nil
timer.Create("check", 0, 0, function()
    local kill = pattern[2]
    local done = printed[1] == "Kill: John killed Alice" and city and kill
    if done and not off then
        assert(kill.killer == "John" and kill.victim == "Alice" and kill.weapon == "weapon_crossbow")
        assert(math.abs(kill.timestamp - os.time()) < 60)
        assert(city.player == "Alice" and city.message == "bonjour" and type(city.job) == "string")
        -- Unsubscribe
        realtime.Off("player:death")
        realtime.Emit("player:death", { killer = "Nobody", victim = "Nobody" })
        off = true
    end
    local over = host.mono() > deadline
    if over or off and #pattern == 3 then
        real_print(over and "0 passed, 1 failed" or "1 passed, 0 failed")
        host.quit(not over and #printed == 1 and 0 or 1)
    end
end)
