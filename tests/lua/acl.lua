-- Uses every feature that sends commands to Redis, for a user with the rights that the README names.
local saw = include("checks.lua").capture_print()
require("realtime")

local refused = {}
hook.Add("RealtimeError", "acl", function(operation, target, reason)
	refused[#refused + 1] = operation .. " " .. target .. ": " .. reason
end)
local heard, matched, window, asked, answers = 0, 0, nil, 0, {}
realtime.On("player:event", "exact", function() heard = heard + 1 end)
realtime.On("player:*", "pattern", function() matched = matched + 1 end)
realtime.AddHook("player:event", "count", { type = "counter", key = "acl:count:{n}", ttl = 60 })
realtime.AddHook("player:event", "board", { type = "leaderboard", board = "acl:board", member = "{n}", ttl = 60 })
realtime.AddHook("player:event", "asks", {
	type = "conditional",
	condition = function() asked = asked + 1 return true end,
	actions = { { type = "counter", key = "acl:asked", action = "decr" } },
})
realtime.AddHook("player:event", "post", { type = "discord", webhook_url = host.arg.discord, format = "{n}" })
realtime.AddHook("player:event", "status", { type = "discord_status", webhook_url = host.arg.discord, format = "{map}", scope = "fleet" })
realtime.AddAggregator("player:event", "sum", {
	interval = 1,
	aggregate = function(events) window = #events return { total = #events } end,
	actions = { { type = "counter", key = "acl:windows" } },
})

local function keep(name) return function(value, err) answers[name] = { value, err } end end
local begun, asking, deadline = false, false, host.mono() + 30
timer.Create("acl", 0, 0, function()
	if realtime.Status() == "connected" and not begun then
		begun = true
		host.command("realtime_selftest")
		-- These two begin and end a subscription while others stand.
		for _, name in ipairs({ "player:other", "player:?" }) do
			realtime.On(name, "brief", function() end)
			realtime.Off(name, "brief")
		end
		assert(realtime.Emit("player:event", { n = 1 }))
		realtime.Set("acl:text", "a", keep("set"))
		realtime.SetEx("acl:table", { a = 1 }, 60, keep("setex"))
		realtime.Get("acl:text", keep("get"))
		realtime.GetTable("acl:table", keep("gettable"))
		realtime.Incr("acl:number", 2, keep("incr"))
		realtime.Expire("acl:number", 60, keep("expire"))
		realtime.Command({ "ZADD", "gm:acl:zset", "1", "a" }, keep("command"))
		realtime.GetLeaderboard("acl:board", 3, keep("board"))
		realtime.GetLeaderboard("acl:count:*", 3, keep("counters"))
		realtime.Del("acl:text", "acl:zset", keep("del"))
		realtime.FindPlayer("76561198012345678", keep("player"))
	end
	-- It shows itself with its first beat.
	if begun and not answers.servers and not asking then
		asking = true
		realtime.Servers(function(list, err)
			asking = false
			if err or #list > 0 then keep("servers")(list, err) end
		end)
	end
	local stats = realtime.Stats()
	-- One by the hook `post`, one by the hook `status`.
	local posted = stats.webhooks.delivered
	local done = table.Count(answers) == 12 and heard == 1 and matched == 1 and window == 1 and asked == 1 and posted >= 2
		and stats.outbox.waiting == 0 and saw("[realtime] self-test ")
	if not done and host.mono() < deadline then return end
	for name, answer in pairs(answers) do if answer[2] then refused[#refused + 1] = name .. ": " .. answer[2] end end
	for _, limit in ipairs(stats.limits) do refused[#refused + 1] = limit end
	local fine = done and #refused == 0 and saw("[realtime] self-test passed") and not saw("NOPERM")
	print(table.concat(refused, "\n"))
	print(fine and "1 passed, 0 failed" or "0 passed, 1 failed", heard, matched, window, asked, posted, util.TableToJSON(answers))
	host.quit(fine and 0 or 1)
end)
