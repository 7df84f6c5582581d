-- The distance of local time from UTC now, in seconds to the east. Returns a function, which keeps the game's own functions: a
-- script may replace the globals later. open.rs runs this chunk; an error means that Lua cannot tell.
local date, time = os.date, os.time
return function()
	local now = time()
	local here, utc = date("*t", now), date("!*t", now)
	-- The dates are a day apart at most, and around New Year the day of the year jumps.
	local days = here.year == utc.year and here.yday - utc.yday or here.year - utc.year
	return ((days * 24 + here.hour - utc.hour) * 60 + here.min - utc.min) * 60 + here.sec - utc.sec
end
