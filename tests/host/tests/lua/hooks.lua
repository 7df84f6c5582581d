-- The hook library, and the order of the engine's own hooks.

local function same(got, wanted)
    if got ~= wanted then error(string.format("got %s, wanted %s", tostring(got), tostring(wanted)), 2) end
end
local tests, seen = {}, {}

function tests.order_and_first_answer()
    local calls = {}
    hook.Add("Test", "one", function(a, b) calls[#calls + 1] = "one" .. a .. b end)
    hook.Add("Test", "two", function() calls[#calls + 1] = "two" return false, "why" end)
    hook.Add("Test", "three", function() calls[#calls + 1] = "three" end)
    local answer, why = hook.Run("Test", 1, 2)
    same(answer, false)
    same(why, "why")
    same(table.concat(calls, " "), "one12 two")
    hook.Remove("Test", "two")
    hook.Add("Test", "one", function() return "replaced" end)
    same(hook.Run("Test"), "replaced")
    same(hook.GetTable().Test.two, nil)
    same(hook.Run("Nobody"), nil)
end

function tests.objects_as_ids()
    local ply, got = host.player(), nil
    hook.Add("Objects", ply, function(self, x) got = self:Nick() .. x end)
    hook.Run("Objects", "!")
    same(got, ply:Nick() .. "!")
    host.remove(ply)
    got = nil
    hook.Run("Objects", "!")
    same(got, nil)
    same(hook.GetTable().Objects[ply], nil)
end

function tests.changed_while_running()
    local calls = 0
    hook.Add("Change", "a", function()
        hook.Remove("Change", "b")
        hook.Add("Change", "c", function() calls = calls + 100 end)
    end)
    hook.Add("Change", "b", function() calls = calls + 1 end)
    hook.Run("Change")
    same(calls, 0)
    hook.Run("Change")
    same(calls, 100)
end

function tests.the_gamemode_comes_last()
    function GAMEMODE:Mine(x) return "gamemode" .. x end
    same(hook.Run("Mine", 1), "gamemode1")
    hook.Add("Mine", "x", function() return "hook" end)
    same(hook.Run("Mine", 1), "hook")
end

function tests.errors_go_to_the_caller()
    hook.Add("Failing", "x", function() error("boom", 0) end)
    local ok, message = pcall(hook.Run, "Failing")
    same(ok, false)
    same(message, "boom")
end

function tests.engine_hooks()
    same(table.concat(seen, " ", 1, 4), "Initialize InitPostEntity Tick Think")
end

for _, event in ipairs({ "Initialize", "InitPostEntity", "Tick", "Think" }) do
    hook.Add(event, "test", function()
        seen[#seen + 1] = event
        if event == "Think" then
            host.run_tests(tests)
            host.quit()
        end
    end)
end
