-- Timers: what fires when, over a hundred ticks of one millisecond.

local function same(got, wanted)
    if got ~= wanted then error(string.format("got %s, wanted %s", tostring(got), tostring(wanted)), 2) end
end
local tests, count, frames = {}, {}, 0
local function counter(name) return function() count[name] = (count[name] or 0) + 1 end end

timer.Create("every frame", 0, 0, counter("every frame"))
timer.Create("three times", 0.001, 3, counter("three times"))
-- Longer than any run, because ticks that a busy machine misses count as well.
timer.Create("slow", 500, 0, counter("slow"))
timer.Simple(0, counter("next frame"))
timer.Simple(0.05, function()
    count.at = CurTime()
    timer.Simple(0, counter("nested"))
end)
timer.Create("failing", 0, 0, function()
    counter("failing")()
    error("timer error")
end)
timer.Create("removes itself", 0, 0, function()
    counter("removes itself")()
    timer.Remove("removes itself")
end)
timer.Create("makes itself again", 0, 1, function()
    counter("makes itself again")()
    if count["makes itself again"] < 4 then timer.Create("makes itself again", 0, 1, debug.getinfo(1, "f").func) end
end)
timer.Create("paused", 0.001, 0, counter("paused"))
timer.Pause("paused")
timer.Create("adjusted", 50, 0, counter("adjusted"))
timer.Adjust("adjusted", 0.001)

function tests.counts()
    local ticks = math.Round(CurTime() / engine.TickInterval())
    same(count["every frame"] == frames, true)
    same(ticks >= frames, true)
    same(count["three times"], 3)
    same(count.slow, nil)
    same(count["next frame"], 1)
    same(count.nested, 1)
    same(count.at >= 0.05, true)
    same(count["removes itself"], 1)
    same(count["makes itself again"], 4)
    same(count.paused, nil)
    same(count.adjusted > 5, true)
end

function tests.an_erroring_timer_is_removed()
    same(count.failing, 1)
    same(timer.Exists("failing"), false)
    local errors, text = host.errors()
    same(errors, 1)
    same(text:EndsWith("timer error"), true)
end

function tests.questions()
    same(timer.Exists("three times"), false)
    same(timer.Exists("slow"), true)
    same(timer.RepsLeft("slow"), 0)
    same(timer.TimeLeft("slow") > 0 and timer.TimeLeft("slow") < 500, true)
    same(timer.TimeLeft("nothing"), nil)
    timer.Stop("slow")
    same(timer.TimeLeft("slow"), -500)
    same(timer.Start("slow"), true)
    same(timer.UnPause("paused"), true)
    same(timer.UnPause("nothing"), false)
    same(pcall(timer.Create, "x", "y", 0, print), false)
    same(pcall(timer.Simple, 0), false)
end

hook.Add("Think", "test", function()
    frames = frames + 1
    if frames < 100 then return end
    host.run_tests(tests)
    host.quit()
end)
