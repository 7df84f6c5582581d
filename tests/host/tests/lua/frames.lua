-- Runs at 100 frames a second: no frame is early, a long frame is not followed by a burst, and the work time is measured.

local function same(got, wanted)
    if got ~= wanted then error(string.format("got %s, wanted %s", tostring(got), tostring(wanted)), 2) end
end
local starts, times, tests = {}, {}, {}
local before

function tests.never_early()
    -- Frames 10 to 20 include ten intervals; a frame may start late, which only shortens the next one's wait.
    same(starts[20] - starts[10] > 0.09 - 0.01, true)
end
function tests.no_burst_after_a_long_frame()
    same(starts[21] - starts[20] >= 0.1, true)
    same(starts[26] - starts[21] > 0.04 - 0.01, true)
    same(times[21] - times[20] > 0.095, true)
end
function tests.measured()
    same(before.count >= 20 and before.max_us >= 100000, true)
    same(before.p50_us > 0 and before.p50_us <= before.p99_us and before.p99_us <= before.max_us, true)
    same(host.frames().count < 12, true)
end

hook.Add("Think", "test", function()
    starts[#starts + 1], times[#times + 1] = host.frame_start(), CurTime()
    if #starts == 20 then host.block(100) end
    if #starts == 25 then
        before = host.frames()
        host.frames_reset()
    end
    if #starts < 30 then return end
    host.run_tests(tests)
    host.quit()
end)
