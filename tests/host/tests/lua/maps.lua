-- What a map change resets, and what survives it.

local function same(got, wanted)
    if got ~= wanted then error(string.format("got %s, wanted %s", tostring(got), tostring(wanted)), 2) end
end
local MAP_SECONDS = 0.5
local tests, changes, tested = {}, host.map_changes(), false

function tests.fresh_state()
    same(leftover, nil)
    -- The time of this map, not that of the map before, which lasted that long.
    same(CurTime() < MAP_SECONDS, true)
    same(player.GetCount(), 0)
end
function tests.the_map()
    same(game.GetMap(), ({ [0] = "gm_first", "gm_second", "gm_third" })[changes])
end
function tests.the_store()
    same(host.load("count") or 0, changes)
    if changes == 0 then return end
    same(host.load("text"), "a\0b")
    same(host.load("yes"), true)
    same(host.load("shutdowns"), changes)
    same(host.load("nothing"), nil)
end
function tests.options()
    same(host.arg.KEY, "VALUE=1")
    same(GetHostName(), "Test Server")
    same(GetConVar("hostport"):GetInt(), 27016)
end

hook.Add("ShutDown", "test", function() host.store("shutdowns", (host.load("shutdowns") or 0) + 1) end)
hook.Add("Think", "test", function()
    if not tested then
        tested = true
        host.run_tests(tests)
    end
    if CurTime() < MAP_SECONDS then return end
    leftover = true
    host.player()
    host.store("count", changes + 1)
    host.store("text", "a\0b")
    host.store("yes", true)
    if changes == 0 then host.changelevel("gm_second")
    elseif changes == 1 then RunConsoleCommand("changelevel", "gm_third") hook.Remove("Think", "test")
    else host.quit() end
end)
