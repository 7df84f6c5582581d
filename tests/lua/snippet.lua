-- Runs one piece of Lua from a README (`--set code=FILE`) as a script of the server, fires the game hooks that it may have
-- added, and reports each error, printed or logged.
local checks = include("checks.lua")
local saw = checks.capture_print()
local file = assert(host.io.open(host.arg.code))
local code = file:read("*a")
file:close()

-- Names that the pieces use.
ply = host.player({ name = "Ann", steamid64 = "76561198000000001" })
local bob = host.player({ name = "Bob", steamid64 = "76561198000000002" })
require("realtime")
local run = CompileString(code, "snippet.lua", false)
if type(run) == "string" then host.fail(run) return end
run()

local deadline, fired = host.mono() + 30, false
timer.Create("snippet", 0, 0, function()
	if realtime.Status() ~= "connected" and host.mono() < deadline then return end
	if not fired then
		fired = true
		hook.Run("PlayerDeath", bob, ply, ply)
		hook.Run("PlayerSay", ply, "hello", false)
		for _, name in ipairs({ "top", "donate" }) do
			if concommand.GetTable()[name] then concommand.Run(ply, name, {}) end
		end
		deadline = host.mono() + 30
	end
	-- Everything that the piece began has ended when the queues are empty.
	local stats, waiting = realtime.Stats(), 0
	for _, name in ipairs({ "outbox", "inbox", "actions", "webhooks", "files", "replies" }) do waiting = waiting + stats[name].waiting end
	if (waiting > 0 or stats.callbacks > 0) and host.mono() < deadline then return end
	local fine = host.errors() == 0 and not saw("was refused") and waiting == 0 and stats.actions_unmade == 0
	print(fine and "1 passed, 0 failed" or "0 passed, 1 failed")
	host.quit(fine and 0 or 1)
end)
