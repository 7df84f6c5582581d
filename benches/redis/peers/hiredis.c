// The work of the benchmarks, done by hiredis: the loops are in C, as a user of hiredis writes them.
#include <string.h>
#include <hiredis/hiredis.h>

// Decodes the bytes in pieces into reply objects. Returns the bytes of all strings in them, or -1.
long long peer_decode(const char *bytes, size_t length, size_t piece, size_t *replies) {
    redisReader *reader = redisReaderCreate();
    long long sum = 0;
    for (size_t at = 0; reader && at < length; at += piece) {
        size_t size = length - at < piece ? length - at : piece;
        if (redisReaderFeed(reader, bytes + at, size) != REDIS_OK) return -1;
        for (;;) {
            void *found = NULL;
            if (redisReaderGetReply(reader, &found) != REDIS_OK) return -1;
            if (!found) break;
            redisReply *reply = found;
            *replies += 1;
            sum += reply->len;
            for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) sum += reply->element[i]->len;
            freeReplyObject(reply);
        }
    }
    redisReaderFree(reader);
    return sum;
}

// Encodes PUBLISH. Returns the number of bytes, or -1.
long long peer_encode(const char *channel, size_t channel_length, const char *payload, size_t payload_length) {
    const char *words[] = {"PUBLISH", channel, payload};
    size_t lengths[] = {7, channel_length, payload_length};
    char *command = NULL;
    long long length = redisFormatCommandArgv(&command, 3, words, lengths);
    if (length > 0) redisFreeCommand(command);
    return length;
}

redisContext *peer_connect(int port) {
    redisContext *context = redisConnect("127.0.0.1", port);
    if (context && context->err) {
        redisFree(context);
        return NULL;
    }
    return context;
}

void peer_close(redisContext *context) {
    redisFree(context);
}

// Publishes `count` times, `depth` commands at a time: writes them, then reads their replies. Unless `number` is 0, it is the
// position of the last digit of a number in the payload, which is counted up. Returns 0 or -1.
int peer_publish(redisContext *context, const char *channel, size_t channel_length, char *payload, size_t payload_length,
                 size_t number, size_t count, size_t depth) {
    const char *words[] = {"PUBLISH", channel, payload};
    size_t lengths[] = {7, channel_length, payload_length};
    while (count > 0) {
        size_t batch = count < depth ? count : depth;
        for (size_t i = 0; i < batch; i++) {
            size_t digit = number;
            while (digit && payload[digit] == '9') payload[digit--] = '0';
            if (digit) payload[digit]++;
            if (redisAppendCommandArgv(context, 3, words, lengths) != REDIS_OK) return -1;
        }
        for (size_t i = 0; i < batch; i++) {
            void *reply = NULL;
            if (redisGetReply(context, &reply) != REDIS_OK || !reply) return -1;
            int is_number = ((redisReply *)reply)->type == REDIS_REPLY_INTEGER;
            freeReplyObject(reply);
            if (!is_number) return -1;
        }
        count -= batch;
    }
    return 0;
}

// Subscribes and waits for the acknowledgement. Returns 0 or -1.
int peer_subscribe(redisContext *context, const char *channel, size_t channel_length) {
    const char *words[] = {"SUBSCRIBE", channel};
    size_t lengths[] = {9, channel_length};
    redisReply *reply = redisCommandArgv(context, 2, words, lengths);
    if (!reply) return -1;
    freeReplyObject(reply);
    return 0;
}

// Receives `count` messages. Copies the payload of the last one into `room`; returns its length, or -1.
long long peer_receive(redisContext *context, size_t count, char *room, size_t room_length) {
    long long length = -1;
    for (size_t i = 0; i < count; i++) {
        void *found = NULL;
        if (redisGetReply(context, &found) != REDIS_OK || !found) return -1;
        redisReply *reply = found;
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3) {
            freeReplyObject(reply);
            return -1;
        }
        if (i + 1 == count) {
            redisReply *payload = reply->element[2];
            length = payload->len;
            memcpy(room, payload->str, (size_t)length < room_length ? (size_t)length : room_length);
        }
        freeReplyObject(reply);
    }
    return length;
}
