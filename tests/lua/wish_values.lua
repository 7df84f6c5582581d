-- Part 3 of the founding wish list and its cases 2 and 4, word for word. Each must work as written.
require("realtime")

local printed = {}
local real_print = print
function print(...) printed[#printed + 1] = table.concat({ ... }, "\t") end

local john = host.player({ name = "John" })
local alice = host.player({ name = "Alice" })

local function part_3()
	-- Store global data (for all servers)
	realtime.Set("server:playercount", 32)
	realtime.Set("server:map", "rp_downtown_v4c_v2")

	-- Read it
	local player_count = realtime.Get("server:playercount")
	local map = realtime.Get("server:map")

	-- With a time to live
	realtime.SetEx("daily:topkiller", "John", 86400)  -- Expires tomorrow

	assert(player_count == "32" and map == "rp_downtown_v4c_v2" and realtime.Get("daily:topkiller") == "John")

	-- Top kills of the day
	hook.Add("PlayerDeath", "StatsUpdate", function(victim, inflictor, attacker)
		if attacker:IsPlayer() then
			local key = "kills:daily:" .. attacker:Nick()
			local current = tonumber(realtime.Get(key) or 0)
			realtime.SetEx(key, current + 1, 86400)  -- Expires tomorrow
		end
	end)

	-- See the top
	local topkiller = realtime.Get("topkiller:daily")
	assert(topkiller == nil)

	for _ = 1, 3 do hook.Run("PlayerDeath", alice, john, john) end
	hook.Remove("PlayerDeath", "StatsUpdate")
	assert(realtime.Get("kills:daily:John") == "3")
end

-- Case 2: a tournament.
local frags = {}
local function case_2()
	realtime.On("tournament:kill", "audience", function(kill) frags[#frags + 1] = kill end)
	hook.Add("TournamentKill", "TrackKill", function(killer, victim, weapon)
		realtime.Emit("tournament:kill", {
			killer = killer:Nick(),
			victim = victim:Nick(),
			weapon = weapon
		})

		-- Update the leaderboard in real time
		local current = tonumber(realtime.Get("tournament:frags:" .. killer:Nick()) or 0)
		realtime.Set("tournament:frags:" .. killer:Nick(), current + 1)
	end)
	for _ = 1, 2 do hook.Run("TournamentKill", john, alice, "weapon_crossbow") end
	hook.Run("TournamentKill", alice, john, "weapon_crowbar")
	local map, ranked = realtime.GetLeaderboard("tournament:frags:*", 10)
	assert(map.John == 2 and map.Alice == 1 and ranked[1].name == "John")
end

-- Case 4: several servers. This one plays both.
local function case_4()
	hook.Add("PlayerDeath", "SyncKills", function(victim, inflictor, attacker)
		realtime.Emit("network:kill", {
			server = "server_name",
			killer = attacker:Nick(),
			victim = victim:Nick()
		})
	end)

	-- All servers listen
	realtime.On("network:kill", function(data)
		print("[" .. data.server .. "] " .. data.killer .. " tué " .. data.victim)
		-- A leaderboard of both servers
	end)
	hook.Run("PlayerDeath", alice, john, john)
end

local deadline, begun = host.mono() + 60, false
timer.Create("check", 0, 0, function()
	if not begun and realtime.Status() == "connected" then
		begun = true
		part_3()
		case_2()
		case_4()
	end
	local done = #frags == 3 and printed[1] == "[server_name] John tué Alice"
	if not done and host.mono() < deadline then return end
	real_print(done and "3 passed, 0 failed" or "0 passed, 1 failed")
	host.quit(done and 0 or 1)
end)
