"""The Lua that runs inside Redis, and how a script is called.

Needs Redis 6.2, as kombu does. `TIME` before a write is allowed since 5.0, where effects are replicated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import NoScriptError

#: Acknowledges, then takes: what is popped is in `unacked` before anybody else is served.
#:
#: KEYS: the unacked hash, its index, the list of what was set aside; then every queue's list, queue by queue,
#: for the most urgent priority, then for the next.
#: ARGV: how many to take, 0 only acknowledges; how many queues; 1 where they take turns, 0 where the first
#: comes first; a digit a queue, 1 where its messages are acknowledged later; how many the list aside keeps;
#: then the tags of what is acknowledged.
#: Returns three values a message: its queue's place, its tag, its text. The place is negative, the others
#: empty, for one that was set aside.
#:
#: Whatever could fail fails before the first pop: a script that breaks off is not undone.
TAKE: Final = """
local unacked, index, aside = KEYS[1], KEYS[2], KEYS[3]
local room, queues, fair = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
for from = 6, #ARGV, 1000 do
    local to = math.min(from + 999, #ARGV)
    redis.call('HDEL', unacked, unpack(ARGV, from, to))
    redis.call('ZREM', index, unpack(ARGV, from, to))
end
local reply = {}
if room == 0 or redis.call('EXISTS', unpack(KEYS, 4)) == 0 then
    return reply
end
redis.call('HLEN', unacked)
redis.call('ZCARD', index)
redis.call('LLEN', aside)
local time = redis.call('TIME')
local score = time[1] .. '.' .. string.format('%06d', time[2])
local values, scores, order = {}, {}, {}
for queue = 1, queues do
    order[queue] = queue
end

local function named(value)
    return type(value) == 'string' or value == cjson.null
end

local function tag_and_route(item)
    local read, message = pcall(cjson.decode, item)
    local properties = read and type(message) == 'table' and message.properties
    if type(properties) ~= 'table' then
        return
    end
    local tag, route = properties.delivery_tag, properties.delivery_info
    if type(tag) == 'string' and tag ~= '' and type(route) == 'table'
            and named(route.exchange) and named(route.routing_key) then
        return tag, cjson.encode(route.exchange) .. ', ' .. cjson.encode(route.routing_key)
    end
end

local function put(queue, item)
    local tag, route = tag_and_route(item)
    if not tag then
        redis.call('LPUSH', aside, item)
        redis.call('LTRIM', aside, 0, tonumber(ARGV[5]) - 1)
        queue, tag, item = -queue, '', ''
    elseif string.sub(ARGV[4], queue, queue) == '1' then
        values[#values + 1] = tag
        values[#values + 1] = '[' .. item .. ', ' .. route .. ']'
        scores[#scores + 1] = score
        scores[#scores + 1] = tag
    end
    reply[#reply + 1] = queue
    reply[#reply + 1] = tag
    reply[#reply + 1] = item
end

for first = 3, #KEYS - 1, queues do
    local empty, at = {}, 1
    while room > 0 and at <= queues do
        local queue = order[at]
        local item = not empty[queue] and redis.pcall('RPOP', KEYS[first + queue])
        if type(item) == 'table' and #reply == 0 then
            return item
        elseif type(item) == 'string' then
            put(queue, item)
            room = room - 1
            if fair then
                table.insert(order, table.remove(order, at))
            end
            at = 1
        else
            empty[queue] = true
            at = at + 1
        end
    end
end
for from = 1, #values, 1000 do
    local to = math.min(from + 999, #values)
    redis.call('HSET', unacked, unpack(values, from, to))
    redis.call('ZADD', index, unpack(scores, from, to))
end
return reply
"""

#: Moves messages out of `unacked`, each only if it is still there: of two who give it back, one does.
#:
#: KEYS: the unacked hash, its index, the list of what was set aside; then the lists that are pushed to.
#: ARGV: LPUSH or RPUSH; how many the list aside keeps; then three values a message: its tag, its text, and
#: the places of its lists in KEYS. Without a place it is set aside; '-' where it is known to be gone.
GIVE_BACK: Final = """
local unacked, index, aside = KEYS[1], KEYS[2], KEYS[3]
for at = 3, #ARGV, 3 do
    local tag, text, places = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local there = redis.call('HDEL', unacked, tag) == 1
    redis.call('ZREM', index, tag)
    local kept = there or places == ''
    if kept and places ~= '-' then
        local pushed = false
        for place in string.gmatch(places, '%d+') do
            pushed = type(redis.pcall(ARGV[1], KEYS[tonumber(place)], text)) == 'number' or pushed
        end
        if not pushed then
            redis.call('LPUSH', aside, text)
            redis.call('LTRIM', aside, 0, tonumber(ARGV[2]) - 1)
        end
    end
end
"""


class Script:
    """A script that is sent in full only to a server that does not know it."""

    def __init__(self, text: str) -> None:
        self._text = text.encode("ascii")
        # Redis names scripts so.
        self._name = hashlib.sha1(self._text, usedforsecurity=False).hexdigest()

    def pack(self, connection: Any, keys: Sequence[str], arguments: Sequence[Any]) -> Any:  # noqa: ANN401 - redis-py's connection, and what it sends
        """Give the call in the form in which it is sent, for calls that are repeated."""
        return connection.pack_command("EVALSHA", self._name, len(keys), *keys, *arguments)

    def run(
        self,
        connection: Any,  # noqa: ANN401 - redis-py's connection
        keys: Sequence[str],
        arguments: Sequence[Any],
        *,
        packed: Any = None,  # noqa: ANN401 - what `pack` gave
    ) -> Any:  # noqa: ANN401 - whatever the script returns
        """Run the script on a connection that nobody else uses now, and return what it returns.

        A server that was restarted, failed over or had its scripts flushed does not know it and did nothing
        when it says so.

        Args:
            packed: The same call, packed before.

        Raises:
            redis.exceptions.RedisError: The connection failed, or the script. After a connection error
                nobody knows whether it ran.
        """
        try:
            connection.send_packed_command(packed or self.pack(connection, keys, arguments))
            return connection.read_response()
        except NoScriptError:
            connection.send_command("EVAL", self._text, len(keys), *keys, *arguments)
            return connection.read_response()


take_script: Final = Script(TAKE)
give_back_script: Final = Script(GIVE_BACK)
