-- The list of servers, a player on one of them, and the game hooks about servers that come. `how=first` shows its players
-- and ends when `how=second` asked it to.
local checks = include("checks.lua")
require("realtime")
local fails_with = checks.fails_with
fails_with("bad argument #1 to 'Servers' (function expected, got string)", realtime.Servers, "x")
fails_with("bad argument #1 to 'FindPlayer' (string expected, got number)", realtime.FindPlayer, 5)
local found, why = realtime.FindPlayer("STEAM_0:1:1")
assert(found == nil and why:find("encode: the steamid64", 1, true) == 1, why)

local is_first = host.arg.how == "first"
local up, rows, player_found, nobody, told_to_end = {}, {}, nil, "not asked", false
hook.Add("RealtimeServerUp", "x", function(name) up[#up + 1] = name end)
realtime.On("end", "end", function() told_to_end = true end)
if is_first then
	host.player({ name = "Jo\n\"x\"", steamid64 = "76561198012345678" })
	host.player({ name = "broken", methods = { SteamID64 = function() error("from a script") end } })
end
local function finish(ok, why)
	print(ok and "1 passed, 0 failed" or "0 passed, 1 failed", why or "")
	host.quit(ok and 0 or 1)
end
local deadline, next_ask = host.mono() + 80, 0
timer.Create("check", 0, 0, function()
	if host.mono() > deadline then return finish(false, util.TableToJSON({ rows, up, tostring(player_found) })) end
	if is_first then
		-- The second began after this one's first look, or is told in none of them.
		if told_to_end then finish(#up == 1 and up[1] == "second", table.concat(up, " ")) end
		return
	end
	if player_found and #rows == 2 then
		timer.Remove("check")
		assert(rows[1].name == "first" and rows[2].name == "second")
		local row = rows[1]
		assert(row.map == game.GetMap() and row.players == 2 and row.hostname == GetHostName(), util.TableToJSON(row))
		assert(row.version == realtime.Version and math.abs(row.seen - os.time()) < 100 and row.started <= row.seen)
		assert(player_found.server == "first" and player_found.name == "Jo \"x\"", util.TableToJSON(player_found))
		assert(nobody == nil)
		-- Without callback: a busy machine may exceed the time.
		local now, reason = realtime.Servers()
		assert(now and #now == 2 or reason and reason:find("timeout", 1, true) == 1, reason)
		-- The first tells of this server at its next look, which is at most ten seconds away.
		timer.Simple(15, function()
			assert(realtime.Emit("end", {}))
			finish(#up == 0, table.concat(up, " "))
		end)
	elseif host.mono() > next_ask then
		next_ask = host.mono() + 0.2
		assert(realtime.Servers(function(list, err) rows = list or error(err) end))
		realtime.FindPlayer("76561198012345678", function(player) player_found = player end)
		realtime.FindPlayer("76561198099999999", function(player) nobody = player end)
	end
end)
print("ready")
