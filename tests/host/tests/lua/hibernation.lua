-- Runs with --hibernate: time and hooks stand still, timers with a name and delay 0 run; then the server wakes.

local function same(got, wanted)
    if got ~= wanted then error(string.format("got %s, wanted %s", tostring(got), tostring(wanted)), 2) end
end
local count, frames, asleep = { think = 0, tick = 0, timer = 0, simple = 0 }, 0, {}
local function counter(name) return function() count[name] = count[name] + 1 end end

hook.Add("Think", "test", counter("think"))
hook.Add("Tick", "test", counter("tick"))
timer.Create("slow", 0.001, 0, counter("timer"))
timer.Simple(0, counter("simple"))

local tests = {}
function tests.asleep()
    same(asleep.think + asleep.tick + asleep.timer + asleep.simple, 0)
    same(asleep.time, 0)
    same(asleep.command, true)
end
function tests.awake()
    same(count.think > 5 and count.tick > 5 and count.timer > 5, true)
    same(count.simple, 1)
    same(CurTime() > 0, true)
    same(host.hibernating(), false)
end

concommand.Add("works_asleep", function() asleep.command = true end)
RunConsoleCommand("works_asleep")
timer.Create("pump", 0, 0, function()
    frames = frames + 1
    if frames == 20 then
        for key, value in pairs(count) do asleep[key] = value end
        asleep.time = CurTime()
        host.hibernate(false)
    elseif frames == 40 then
        host.run_tests(tests)
        host.quit()
    end
end)
